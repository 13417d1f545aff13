"""A model with fewer layers, in files: those of the whole one, under the names and in the types that it has there."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Size

from fea.errors import FEAError
from fea.export.naming import INDEX, network_names, weight_files
from fea.model.families.family import Family
from fea.system.files import write_atomically

_CONFIG = "config.json"


def write_pruned(folder: Path, whole: Path, family: Family, kept: Sequence[int]) -> None:
    """Writes the weights of the layers that stay, numbered anew, with all others and the config.

    Args:
        folder: that is there, with a copy of the config of the whole model.
        whole: holds the whole model.
        family: of it.
        kept: layers that stay, ascending.
    """
    files, index = weight_files(whole), dict[str, str]()
    numbers = _numbers(whole, family, [name for names in files.values() for name in names])
    new = {old: place for place, old in enumerate(kept)}
    for file, names in files.items():
        with safe_open(whole / file, "pt") as stored:
            kind = stored.metadata()
            left = {_named(n, numbers, new): stored.get_tensor(n) for n in names if numbers.get(n, kept[0]) in new}
        if left:
            save_file(left, folder / file, kind)
            index |= dict.fromkeys(left, file)
    if (whole / INDEX).is_file():
        told = json.loads((whole / INDEX).read_text(encoding="utf-8"))
        told["weight_map"] = dict(sorted(index.items()))
        told["metadata"] = {k: v for k, v in (told.get("metadata") or {}).items() if not k.startswith("total_")}
        _write(folder / INDEX, told)
    _write(folder / _CONFIG, _with_fewer(json.loads((folder / _CONFIG).read_text(encoding="utf-8")), kept))


def parameters(folder: Path) -> int:
    """Weights of a model, counted in its files; one that is tied to another is counted as often as it is there."""
    total = 0
    for file, names in weight_files(folder).items():
        with safe_open(folder / file, "pt") as stored:
            total += sum(Size(stored.get_slice(name).get_shape()).numel() for name in names)
    return total


def _numbers(whole: Path, family: Family, names: Sequence[str]) -> dict[str, int]:
    """Which layer of the language model a weight of the files belongs to, for those that belong to one."""
    layer = re.compile(rf"{re.escape(family.language_model)}\.layers\.(\d+)\.")
    called = network_names(whole, names)
    return {name: int(found[1]) for name, full in called.items() if (found := layer.match(full))}


def _named(name: str, numbers: dict[str, int], new: dict[int, int]) -> str:
    old = numbers.get(name)
    return name if old is None else re.sub(rf"\blayers\.{old}\.", f"layers.{new[old]}.", name, count=1)


def _with_fewer(told: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """A config with what it says of each layer cut to those that stay; of earlier years it is flat, and may say it twice."""
    parts = [part for part in (told, told.get("text_config")) if isinstance(part, dict) and "num_hidden_layers" in part]
    if not parts:
        raise FEAError(f"run: the {_CONFIG} of its base names no number of layers (num_hidden_layers); restore it")
    for part in parts:
        part["num_hidden_layers"] = len(kept)
        if part.get("layer_types"):
            part["layer_types"] = [part["layer_types"][layer] for layer in kept]
        if isinstance(first := part.get("max_window_layers"), int):  # from which on a layer sees a window, if any does
            part["max_window_layers"] = sum(layer < first for layer in kept)
    return told


def _write(file: Path, content: Any) -> None:
    write_atomically(file, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
