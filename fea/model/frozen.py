"""The weights that training leaves as they are: no checkpoint holds them, so it remembers a digest."""

from __future__ import annotations

import hashlib

from fea.errors import FEAError
from fea.model.policy import Policy

_SAMPLED = 32  # values of each weight: enough to tell two models apart, and read at once from any of them


def digest(policy: Policy) -> str:
    """Tells bases apart by a few values of each weight that is not trained, whatever files it came from.

    It begins with their type. Left out are weights in 4 bits, since how they are packed depends on the device. Those of the
    tiny model are drawn anew on each machine, so it goes by its name.
    """
    kind = "4bit" if policy.config.four_bit else policy.config.dtype
    if policy.config.base == "tiny":
        return f"{kind}-tiny"
    found = hashlib.sha256()
    for name, weight in policy.named_parameters():
        if not weight.requires_grad and not hasattr(weight, "quant_state"):
            values = weight.detach().reshape(-1)
            few = values[:: max(1, len(values) // _SAMPLED)].float().cpu().contiguous()
            found.update(f"{name} {tuple(weight.shape)}".encode())
            found.update(few.numpy().data)
    return f"{kind}-{found.hexdigest()[:32]}"


def check(then: str, now: str, base: str) -> None:
    """Refuses a base that is not the one which a checkpoint was trained on; weights of another type cannot be compared.

    Args:
        then: digest that the checkpoint tells; "" if it tells none.
        now: that of the weights at hand.
        base: the model that these belong to.

    Raises:
        FEAError: they are others.
    """
    if then.partition("-")[0] == now.partition("-")[0] and then != now:
        raise FEAError(
            f"policy.base: '{base}' is not the model that the checkpoint was trained on: its frozen weights are others; name "
            "that one, for a trained run with --base"
        )
