"""The weights of a base with what training changed, in the files, under the names and in the types of the base.

Files are gone through one by one, so that one of them is in memory and not the model. The base is the unquantized one even if
the run trained on it in 4 bits: nothing is ever merged into rounded weights. Sums are made in fp32 and rounded once.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fea.errors import FEAError
from fea.export.adapter import Update
from fea.export.naming import INDEX, network_names, weight_files


class Trained:
    """What training changed, by the names of the network.

    Args:
        whole: weights that take the place of the base's.
        updates: what is added to weights, after that.
        tied: name of a weight that is another one's twin, and the name of that one.
    """

    def __init__(self, whole: Mapping[str, Tensor], updates: Sequence[Update], tied: Mapping[str, str]):
        self.whole, self.tied = whole, tied
        self.updates = {f"{update.layer}.weight": update for update in updates}
        self.left = {*whole, *self.updates}

    def weight(self, name: str, given: Tensor) -> Tensor:
        """A weight after training, in the type of the base's.

        Args:
            name: in the network.
            given: the base's.
        """
        name = name if name in self.left or name not in self.tied else self.tied[name]
        found, update = self.whole.get(name, given), self.updates.get(name)
        self.left.discard(name)
        if update:
            found = torch.addmm(found.float(), update.up_Or.float(), update.down_rD.float(), alpha=update.scale)
        return found.to(given.dtype)


def write_merged(folder: Path, base: Path, trained: Trained) -> None:
    """Writes the weights of a model.

    Args:
        folder: that is there.
        base: holds the model that was trained.
        trained: what became of it.

    Raises:
        FEAError: the files of the base do not hold every weight that was trained.
    """
    files = weight_files(base)
    called = network_names(base, [name for names in files.values() for name in names])
    for file, names in files.items():
        with safe_open(base / file, "pt") as stored:
            kind = stored.metadata()
            weights = {name: stored.get_tensor(name) for name in names}
        for name in weights.keys() & called.keys():
            weights[name] = trained.weight(called[name], weights[name]).contiguous()
        save_file(weights, folder / file, kind)
    if trained.left:
        raise FEAError(
            f"base: the files of '{base}' do not hold '{sorted(trained.left)[0]}' by itself, which was trained; save the base "
            "anew with transformers (save_pretrained), or export with --format peft"
        )
    if (base / INDEX).is_file():
        shutil.copyfile(base / INDEX, folder / INDEX)


def dtype_of(base: Path) -> torch.dtype:
    """The type that most numbers of a model are stored in."""
    counts: dict[torch.dtype, int] = {}
    for file, names in weight_files(base).items():
        with safe_open(base / file, "pt") as stored:
            for name in names:
                part = stored.get_slice(name)
                kind = _TYPES.get(part.get_dtype(), torch.float32)
                counts[kind] = counts.get(kind, 0) + torch.Size(part.get_shape()).numel()
    return max(counts, key=lambda kind: counts[kind])


_TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
