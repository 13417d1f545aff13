"""How the files of a base spell its weights: transformers gives many of them other names as it reads them.

Published folders of earlier years say `model.layers...` and `visual...` where the network has `model.language_model.layers...`
and `model.visual...`. What is exported is spelled as the base is, since that is what other programs look for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from fea.errors import FEAError

INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"


def weight_files(folder: Path) -> dict[str, list[str]]:
    """The names of the weights in each file of a model.

    Raises:
        FEAError: it has none in this format.
    """
    if (folder / INDEX).is_file():
        files = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        files = [_WHOLE]
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise FEAError(
            f"base: '{folder}' holds no '{missing[0]}'; export needs its weights as safetensors: load the base once with "
            "transformers and save it with save_pretrained"
        )
    found = {}
    for file in files:
        with safe_open(folder / file, "pt") as stored:
            found[file] = list(stored.keys())
    return found


def empty_model(folder: Path) -> Any:
    """The network of a model as transformers builds it, without memory for its weights."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder))


def tied_names(folder: Path) -> dict[str, str]:
    """Weights of the network that are another one, such as an output head that is the embedding, with the name of that one."""
    return dict(empty_model(folder).all_tied_weights_keys)


def network_names(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """What the network calls the weights that files call so.

    Args:
        folder: of the model.
        names: in its files.

    Returns:
        By name in the files; those that several weights of the network are made of, or that it does not have, are left out.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    model = empty_model(folder)
    steps = get_model_conversion_mapping(model)
    renamings = [step for step in steps if isinstance(step, WeightRenaming)]
    converters = [step for step in steps if isinstance(step, WeightConverter)]
    known, found = model.state_dict(), {}
    for name in names:
        renamed, converted = rename_source_key(name, renamings, converters, model.base_model_prefix, known)
        if converted is None and renamed in known:
            found[name] = renamed
    return found
