"""What the files of GGUF have in common: weights under the names of llama.cpp, in the types that it reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from fea.errors import FEAError
from fea.export.naming import network_names, weight_files


def weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """The weights of a model one by one, by their names in the network."""
    files = weight_files(folder)
    called = network_names(folder, [name for names in files.values() for name in names])
    for file, names in files.items():
        with safe_open(folder / file, "pt") as stored:
            for name in names:
                yield called[name], stored.get_tensor(name)


def named(names: Any, name: str) -> str:
    """What llama.cpp calls a weight."""
    end = ".1" if name.endswith(".weight.1") else ""
    found = names.get_name(name.removesuffix(".1"), try_suffixes=(".weight", ".bias"))
    if found is None:
        raise FEAError(f"format: llama.cpp has no place for the weight '{name}'; export it with --format merged")
    return f"{found}{end}"


def add(writer: Any, name: str, weight: Tensor, whole: bool = False) -> None:
    """Adds a weight in its own type; norms, biases and what has to be `whole` in fp32, as readers ask for."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    if weight.dim() == 1 or whole or weight.dtype == torch.float32:
        writer.add_tensor(name, weight.float().contiguous().numpy())
    elif weight.dtype == torch.bfloat16:
        kind = GGMLQuantizationType.BF16
        writer.add_tensor(name, quantize(weight.float().contiguous().numpy(), kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, weight.contiguous().numpy())


def finish(writer: Any) -> None:
    """Writes what was added to the file, and closes it."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
