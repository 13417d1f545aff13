"""Where a run's weights lie and what they belong to.

A checkpoint holds the trainable weights, the optimiser and, under the key "fea", what is needed to build the policy again.
It is written whole or not at all, and read with `weights_only`: a file cannot run code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
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
        path /= (path / RESULT).read_text().strip()
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
        mapped: tensors are read from the file when they are used, so that an optimiser that nobody asks for costs no memory.

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


def describe(config: PolicyConfig, emotions: Iterable[str], datasets: Iterable[str]) -> dict[str, Any]:
    """What is stored under "fea" of a policy: how to build it, what it may answer and what it has seen."""
    return {
        "policy": {**asdict(config), "base": _absolute(config.base)},
        "prompt": PROMPT_VERSION,
        "emotions": list(emotions),
        "datasets": sorted(datasets),
    }


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """The first half of the SHA-256 of some weights; sharded ones are put together, on all processes at once."""
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        content = fsdp.whole(fsdp.own_part(weight.detach()), weight).cpu().contiguous()
        digest.update(name.encode())
        digest.update(content.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def origin(init_from: str | None, inherits: bool) -> dict[str, Any]:
    """What is stored of the run that a run started from.

    Args:
        init_from: that run.
        inherits: whether weights of it are needed that this run does not train, and so does not store.
    """
    return {"init_from": None if init_from is None else _absolute(init_from), "inherits": inherits}


def _absolute(name: str) -> str:
    """A path that can be read from any working directory; names of the hub stay as they are."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def config_of(checkpoint: dict[str, Any]) -> PolicyConfig:
    """The policy that a checkpoint belongs to.

    Raises:
        FEAError: it was trained with another version of the prompt.
    """
    stored = checkpoint["fea"]
    if stored["prompt"] != PROMPT_VERSION:
        raise FEAError(
            f"the checkpoint was trained with prompt version {stored['prompt']}, this is version {PROMPT_VERSION}; "
            "use the release of fea that wrote it"
        )
    fields = dict(stored["policy"])
    fields["tiny"] = TinySize(**fields["tiny"])
    fields["lora"] = fields["lora"] and LoRA(**fields["lora"])
    return PolicyConfig(**fields)


def weights(run: str | None) -> dict[str, Tensor]:
    """All weights that training changed up to a run's checkpoint, by their names in the policy.

    An adapter that was trained on top of an earlier run's whole weights brings these along.
    """
    if run is None:
        return {}
    checkpoint = read(find(run))
    own = {
        name.removeprefix("policy."): weight
        for name, weight in checkpoint["state_dict"].items()
        if name.startswith("policy.")
    }
    return (weights(checkpoint["fea"]["init_from"]) if checkpoint["fea"]["inherits"] else {}) | own


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
    earlier = None if run is None else config_of(read(find(run))).lora
    if earlier and config.lora and earlier != config.lora:
        raise FEAError(
            f"policy.lora: rank {config.lora.rank} and alpha {config.lora.alpha}, but '{run}' (model.init_from) was trained "
            f"with rank {earlier.rank} and alpha {earlier.alpha}; use the same rank, alpha and targets"
        )


def seen(run: str | None) -> set[str]:
    """Data sets that a run and those before it were trained on."""
    return set() if run is None else set(read(find(run))["fea"]["datasets"])


def load_policy(run: str, device: Device = "auto") -> tuple[Policy, dict[str, Any]]:
    """The trained policy of a run, ready to answer, and what its checkpoint says about it.

    Args:
        run: folder or checkpoint of a run.
        device: "cpu", "cuda", or "auto".

    Raises:
        FEAError: the run cannot be read, or there is no such device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise FEAError("device: 'cuda' is not available here; choose cpu")
    checkpoint = read(find(run))
    policy = Policy(config_of(checkpoint), weights(run)).eval()
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return policy.to(chosen), checkpoint["fea"]
