"""Where a run's weights lie and what they belong to.

A checkpoint holds the trainable weights, the optimizer and, under the key "fea", what is needed to build the policy again.
It is written whole or not at all, and read with `weights_only`: a file cannot run code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fea.errors import FEAError
from fea.model import fsdp
from fea.model.config import Device, LoRA, PolicyConfig, TinySize
from fea.model.policy import Policy
from fea.prompts.prompt import PROMPT_VERSION

RESULT = "RESULT"  # a file in a folder of runs: the name of the run that holds the outcome


def find(run: str) -> Path:
    """The checkpoint of a run: its best, else its last.

    Args:
        run: folder of a run, folder of runs with a RESULT file, or a checkpoint file.

    Raises:
        FEAError: there is none.
    """
    path = Path(run)
    if (path / RESULT).is_file():
        path /= (path / RESULT).read_text(encoding="utf-8").strip()
    for candidate in (path, path / "checkpoints" / "best.ckpt", path / "checkpoints" / "last.ckpt"):
        if candidate.is_file():
            return candidate
    raise FEAError(
        f"'{run}' holds no checkpoint; name the folder of a finished run (with checkpoints/ in it) or a .ckpt file"
    )


def read(path: Path, mapped: bool = True) -> dict[str, Any]:
    """Opens a checkpoint.

    Args:
        path: of the file.
        mapped: tensors are read from the file when they are used, so that an optimizer that nobody asks for costs no memory.

    Raises:
        FEAError: there is none, it is damaged, holds anything but tensors and plain values, or was not written by fea.
    """
    if not path.is_file():
        raise FEAError(f"checkpoint '{path}' does not exist; name a .ckpt file from the checkpoints/ folder of a run")
    try:
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # damaged files raise a dozen different kinds
        raise FEAError(
            f"checkpoint '{path}' cannot be read: it is damaged, or holds more than tensors and plain values; take another"
        ) from error
    if not isinstance(checkpoint, dict) or "fea" not in checkpoint:
        raise FEAError(f"checkpoint '{path}' was not written by fea; name one from the checkpoints/ folder of a run")
    return dict(checkpoint)


@dataclass(frozen=True)
class Stored:
    """What a checkpoint says under the key "fea": what is needed to build its policy again, and what that has seen.

    Attributes:
        policy: how it is built.
        emotions: that it may answer.
        datasets: names of the data sets that it and the runs before it were trained on.
        stage: class of the module that wrote it.
        prompt: version of the prompt that it was trained with.
        init_from: run that its run started from.
        inherits: whether weights of that run are needed that this one does not train, and so does not hold.
        skipped: optimizer steps that were left out, since their gradient was not finite.
        reference: trainable weights of the reference policy, by name; empty without one.
    """

    policy: PolicyConfig
    emotions: tuple[str, ...]
    datasets: frozenset[str]
    stage: str
    prompt: str = PROMPT_VERSION
    init_from: str | None = None
    inherits: bool = False
    skipped: int = 0
    reference: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> Stored:
        """Reads what a checkpoint says.

        Raises:
            FEAError: it was trained with another version of the prompt.
        """
        told = dict(checkpoint["fea"])
        if told["prompt"] != PROMPT_VERSION:
            raise FEAError(
                f"the checkpoint was trained with prompt version {told['prompt']}, this is version {PROMPT_VERSION}; "
                "use the release of fea that wrote it"
            )
        fields = dict(told["policy"])
        lora = fields["lora"] and LoRA(**fields["lora"])
        policy = PolicyConfig(**{**fields, "tiny": TinySize(**fields["tiny"]), "lora": lora})
        known = {
            name: told[name]
            for name in ("stage", "prompt", "init_from", "inherits", "skipped", "reference")
            if name in told
        }
        return cls(policy, tuple(told["emotions"]), frozenset(told["datasets"]), **known)

    def plain(self) -> dict[str, Any]:
        """As plain values and tensors, for a checkpoint. Folders are named by paths that hold from anywhere."""
        return {
            "policy": {**asdict(self.policy), "base": _absolute(self.policy.base)},
            "prompt": self.prompt,
            "emotions": list(self.emotions),
            "datasets": sorted(self.datasets),
            "init_from": self.init_from and _absolute(self.init_from),
            "inherits": self.inherits,
            "stage": self.stage,
            "skipped": self.skipped,
            "reference": dict(self.reference),
        }


def stored(run: str) -> Stored:
    """What the checkpoint of a run says.

    Raises:
        FEAError: there is none, it cannot be read, or it was trained with another version of the prompt.
    """
    return Stored.of(read(find(run)))


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """The first half of the SHA-256 of some weights; sharded ones are put together, on all processes at once."""
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        content = fsdp.whole(fsdp.own_part(weight.detach()), weight).cpu().contiguous()
        digest.update(name.encode())
        digest.update(content.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _absolute(name: str) -> str:
    """A path that can be read from any working directory; names of the hub stay as they are."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def weights(run: str | None) -> dict[str, Tensor]:
    """All weights that training changed up to a run's checkpoint, by their names in the policy.

    An adapter that was trained on top of an earlier run's whole weights brings these along.
    """
    if run is None:
        return {}
    checkpoint = read(find(run))
    told, named = Stored.of(checkpoint), checkpoint["state_dict"].items()
    own = {name.removeprefix("policy."): weight for name, weight in named if name.startswith("policy.")}
    return (weights(told.init_from) if told.inherits else {}) | own


def check_names(stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Compares the weights of a file with those that a policy trains.

    Raises:
        FEAError: a name or a shape differs.
    """
    here, there = ({name: tuple(w.shape) for name, w in weights.items()} for weights in (wanted, stored))
    if here != there:
        name = sorted(set(there.items()) ^ set(here.items()))[0][0]
        raise FEAError(
            f"the checkpoint belongs to another model: '{name.removeprefix('policy.')}' is {there.get(name, 'not')} in it and "
            f"{here.get(name, 'not')} here; use the config that it was trained with"
        )


def check_adapter(run: str | None, config: PolicyConfig) -> None:
    """Refuses to go on from an adapter with another one: a changed alpha would rescale it without a word.

    Raises:
        FEAError: the adapters differ.
    """
    earlier = None if run is None else stored(run).policy.lora
    if earlier and config.lora and earlier != config.lora:
        raise FEAError(
            f"policy.lora: rank {config.lora.rank} and alpha {config.lora.alpha}, but '{run}' (model.init_from) was trained "
            f"with rank {earlier.rank} and alpha {earlier.alpha}; use the same rank, alpha and targets"
        )


def load_policy(run: str, device: Device = "auto") -> tuple[Policy, Stored]:
    """The trained policy of a run, ready to answer, and what its checkpoint says about it.

    Args:
        run: folder or checkpoint of a run.
        device: "cpu", "cuda", or "auto".

    Raises:
        FEAError: the run cannot be read, or there is no such device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise FEAError("device: 'cuda' is not available here; choose cpu")
    told = stored(run)
    policy = Policy(told.policy, weights(run)).eval()
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return policy.to(chosen), told
