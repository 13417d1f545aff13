"""Builds the network behind a policy, from a folder, the hub or a config; in 4 bits; with an adapter.

The heavy libraries are imported inside the functions, so that a mistake in a config is reported at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fea.errors import FEAError
from fea.model import any_family, attention, belonging, deepstack, norm, trained, vision
from fea.model.config import PolicyConfig
from fea.model.families.family import Family
from fea.model.families.known import TINY, of_type, publisher
from fea.model.network import Network
from fea.model.pretrained import config_of, from_base, pretrained, recompute_activations, template
from fea.model.stock import Stock
from fea.model.tiny import build_config, build_image_processor, build_model, build_tokenizer

# Of the prompts, with the tokenizers of large models, at least: the knowledge of Action Units has 3.79, as each digit is a
# token and rare words ("nasolabial") are several.
_LETTERS_A_TOKEN = 3.75


def load(config: PolicyConfig, start: Mapping[str, Tensor], empty: bool = False) -> Network | Stock:
    """Builds the network with frozen and trainable parts marked.

    Args:
        config: what to build.
        start: weights to begin from instead of the base's; adapter weights among them go into the adapter.
        empty: all weights and buffers are on the device "meta", for a process that is given their values by another one.

    Raises:
        FEAError: the base cannot be found, or `start` does not fit it.
    """
    family = _family_of(config)
    if family is None:
        return any_family.build(config, start, empty)
    if config.base != "tiny":
        belonging.check_files(config.base)
    tokenizer, image_processor = _processors(family, config)
    with torch.device("meta") if empty else nullcontext():
        if config.base == "tiny":
            model = build_model(family, tokenizer, config.tiny).to(getattr(torch, config.dtype))
        else:
            belonging.check_parts(config.base, family, config_of(config.base), tokenizer, image_processor)
            model = pretrained(config, family.kept_whole, empty)
        model = _prepared(family, model, config, start)
    return Network(family, model, tokenizer, image_processor)


def skeleton(config: PolicyConfig, layers: int | None = None) -> Network | Stock:
    """The network of a config with sizes and no weights: all of these are on the device "meta".

    Args:
        config: of the policy.
        layers: of its language model, if not all.

    Raises:
        FEAError: the dimensions of the base are not known.
    """
    family = publisher(config.base) or _family_of(config)
    if family is None:
        return any_family.skeleton(config, layers)
    with torch.device("meta"):
        model = _of_dimensions(family, config, layers).to(getattr(torch, config.dtype))
        model = _prepared(family, model, config, {})
    return Network(family, model)


def _of_dimensions(family: Family, config: PolicyConfig, layers: int | None) -> Any:
    import transformers

    if config.base == "tiny":
        sizes = build_config(family, build_tokenizer(family), config.tiny)
    elif known := family.published.get(config.base):
        parts = {"text_config": deepcopy(known.text), "vision_config": deepcopy(known.vision)}  # it writes into them
        sizes = getattr(transformers, family.config_class)(**parts, tie_word_embeddings=known.tied)
    else:
        sizes = config_of(config.base)
    sizes.text_config.num_hidden_layers = layers or sizes.text_config.num_hidden_layers
    if getattr(sizes.text_config, "layer_types", None):
        sizes.text_config.layer_types = None  # one for each layer, made again from the number
    return getattr(transformers, family.model_class)(type(sizes).from_dict(sizes.to_dict()))


def _prepared(family: Family, model: Any, config: PolicyConfig, start: Mapping[str, Tensor]) -> Any:
    """With its attention, its adapter and its weights to start from; frozen but for what is trained."""
    _choose_attention(model, family, config)
    language_model = model.get_submodule(family.language_model)
    norm.install(language_model)
    if family.deepstack:
        given = getattr(model.get_submodule(family.vision_tower).config, family.deepstack)
        deepstack.install(language_model.layers[: len(given)])
    vision.multiply_patches(model.get_submodule(family.vision_tower))
    trained.mark(model, family, config, start, model.get_submodule(family.vision_tower).parameters())
    if config.checkpointing:
        recompute_activations(model)
    elif config.lora and config.lora.vision:  # four patches for each visual token are too many to keep
        recompute_activations(model.get_submodule(family.vision_tower))
    return model.train()  # from_pretrained leaves it in eval mode


def _choose_attention(model: Any, family: Family, config: PolicyConfig) -> None:
    attention.install(model)
    if config.vision_attention == "sdpa":
        vision.install(model, getattr(model.get_submodule(family.vision_tower), family.vision_blocks))
        return
    try:
        model.set_attn_implementation({"vision_config": config.vision_attention})
    except (ImportError, ValueError) as error:
        raise FEAError(
            f"policy.vision_attention: {config.vision_attention} needs a GPU and the package flash-attn (pip install "
            "'fea[flash]'), and one of them is not there; sdpa works everywhere"
        ) from error


def _processors(family: Family, config: PolicyConfig) -> tuple[Any, Any]:
    if config.base == "tiny":
        tokenizer, image_processor = build_tokenizer(family), build_image_processor(family)
    else:
        from transformers import AutoImageProcessor, AutoTokenizer

        tokenizer = from_base(AutoTokenizer.from_pretrained, config.base)
        tokenizer.chat_template = tokenizer.chat_template or template(config.base)
        image_processor = from_base(AutoImageProcessor.from_pretrained, config.base)
    image_processor.size = {"shortest_edge": config.min_pixels, "longest_edge": config.max_pixels}
    return tokenizer, image_processor


def count_tokens(config: PolicyConfig, text: str) -> int:
    """Tokens of a text; estimated if the tokenizer of the base is not here."""
    if config.base != "tiny" and not Path(config.base).is_dir():
        return math.ceil(len(text) / _LETTERS_A_TOKEN)
    family = _family_of(config)
    tokenizer = _processors(family, config)[0] if family else any_family.tokenizer(config.base)
    return len(tokenizer(text)["input_ids"])


def is_known(config: PolicyConfig) -> bool:
    """Whether a base belongs to a family that is known by name."""
    return bool(publisher(config.base) or _family_of(config))


def check_sharded(config: PolicyConfig) -> None:
    """Refuses to share out weights whose layers are not known by name.

    Raises:
        FEAError: the base belongs to another family.
    """
    if not is_known(config):
        any_family.check(config, sharded=True)


def _family_of(config: PolicyConfig) -> Family | None:
    if config.base == "tiny":
        return of_type(config.tiny.family) or TINY
    sizes = config_of(config.base)
    belonging.check_sees(config.base, sizes)
    return of_type(sizes.model_type)
