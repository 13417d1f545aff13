"""The two precisions that a policy computes in; all others are refused before any work."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import get_args

import torch

from fea.errors import FEAError
from fea.model.config import Device

_FP16 = "attention scores of real weights overflow in fp16"
# By the trainer's name of a precision, what is wrong with it here.
_REFUSED = {
    "16-mixed": _FP16,
    "16-true": _FP16,
    "bf16-true": "weights under training would be kept in bf16, which rounds small steps away",
    "64-true": "a policy is sampled in 32 bits, which do not mix with 64",
    "transformer-engine": "layers in fp8 hold neither an adapter nor 4 bits",
}
# Other names that the trainer knows them by.
_NAMES = {"None": "32-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed", "64": "64-true"}


def check(precision: object, device: torch.device | None = None) -> None:
    """Refuses what a run cannot compute in.

    Args:
        precision: as the trainer is given it.
        device: that it runs on, if that is known.

    Raises:
        FEAError: naming another one.
    """
    name = _NAMES.get(str(precision), str(precision))
    if name not in ("32-true", "bf16-mixed"):
        why = next((why for kind, why in _REFUSED.items() if name.startswith(kind)), "nobody has tried it")
        raise FEAError(f"trainer.precision: '{precision}' cannot be used ({why}); set it to bf16-mixed or 32-true")
    if device and (card := without_bf16(name, device)):
        raise FEAError(
            f"trainer.precision: bf16-mixed, but {card} does not compute in bf16; set it to 32-true, and model.policy.dtype to "
            "float32"
        )


def device_of(word: Device) -> torch.device:
    """The device that a setting stands for.

    Raises:
        FEAError: it is not there, or there is none of this name.
    """
    if word not in get_args(Device):
        raise FEAError(f"device: '{word}'; choose {', '.join(get_args(Device))}")
    if word == "cuda" and not torch.cuda.is_available():
        raise FEAError("device: 'cuda' is not available here; choose cpu")
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if word == "auto" else word)


def without_bf16(precision: str, device: torch.device) -> str:
    """Name of the GPU if it lacks what a precision needs; "" if it has it."""
    if precision != "bf16-mixed" or device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return ""
    return str(torch.cuda.get_device_name(device))


def computing(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Inside, numbers are those that the trainer computes in this precision."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16-mixed" else nullcontext()
