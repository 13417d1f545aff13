"""A base of a family that is not known by name, made ready to be asked part by part or as it comes; and what it has not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from fea.errors import FEAError
from fea.model import belonging, trained
from fea.model.causal import Causal
from fea.model.config import PolicyConfig
from fea.model.families.general import General
from fea.model.outline import kinds_of, outline
from fea.model.pretrained import config_of, from_base, pretrained, recompute_activations
from fea.model.processor import load_processor
from fea.model.stock import Stock


def build(config: PolicyConfig, start: Mapping[str, Tensor], empty: bool) -> Causal | Stock:
    """Builds the network with frozen and trainable parts marked.

    Args:
        config: what to build.
        start: weights to begin from instead of the base's; adapter weights among them go into the adapter.
        empty: asked for where weights are sharded, which they cannot be here.

    Raises:
        FEAError: the config asks for what is not to be had, or the parts of the base do not fit.
    """
    check(config, sharded=empty)
    belonging.check_files(config.base)
    general, _, processor = _read_off(config.base)
    _tell(config.base, general.model_type, general.shares)
    model = _prepared(general, pretrained(config, general.kept_whole, empty), config, start)
    return (Causal if general.shares else Stock)(general, model, processor)


def skeleton(config: PolicyConfig, layers: int | None) -> Causal | Stock:
    """The network of a base without weights. Arguments are those of `fea.model.load.skeleton`.

    Raises:
        FEAError: files of the base are not here; or the config asks for what is not to be had.
    """
    from transformers import AutoModelForImageTextToText

    check(config, sharded=False)
    general, sizes, processor = _read_off(config.base)
    text = sizes.get_text_config()
    if layers:
        text.num_hidden_layers, kinds = layers, kinds_of(text)
        if kinds:
            text.layer_types = [kinds[layer % len(kinds)] for layer in range(layers)]
    sizes = type(sizes).from_dict(sizes.to_dict())
    with torch.device("meta"):
        model = cast(Any, AutoModelForImageTextToText).from_config(sizes).to(getattr(torch, config.dtype))
        model = _prepared(general, model, config, {})
    return (Causal if general.shares else Stock)(general, model, processor)


def _read_off(base: str) -> tuple[General, Any, Any]:
    """What is known of a base, its config and its processor."""
    sizes = config_of(base)
    processor = load_processor(base, sizes)
    return outline(base, sizes, processor), sizes, processor


def _prepared(general: General, model: Any, config: PolicyConfig, start: Mapping[str, Tensor]) -> Any:
    """With its adapter and its weights to start from; frozen but for what is trained."""
    model = _without_chance(model)
    trained.mark(model, general, config, start, _tower(model, general))
    if config.checkpointing:
        _recompute(config.base, model)
    return model.train()


def check(config: PolicyConfig, sharded: bool) -> None:
    """Refuses what needs a family that is known by name; of the others nothing more is read than their `config.json`.

    Args:
        config: of a policy with such a base.
        sharded: whether its weights would be.

    Raises:
        FEAError: naming the setting, and what to set instead.
    """
    kind = f"'{config.base}' is of the {config_of(config.base).model_type} family, whose layers are not known by name"
    if config.lora and config.lora.vision:
        raise FEAError(
            f"policy.lora.vision: {kind}, so its tower has no adapter; set it null, or train the whole tower with lora: null "
            "and train_vision: true"
        )
    if config.vision_attention != "sdpa":
        raise FEAError(f"policy.vision_attention: {kind}; set sdpa, with which its tower computes as it comes")
    if sharded:
        raise FEAError(f"trainer.strategy: {kind}, so its weights cannot be sharded; use strategy: ddp, or auto")


def lora_targets(base: str) -> str:
    """Pattern of all linear layers of the language model of a base.

    Raises:
        FEAError: the parts of the base do not fit.
    """
    sizes = config_of(base)
    return outline(base, sizes, load_processor(base, sizes)).lora_targets


def tokenizer(base: str) -> Any:
    """The tokenizer of a base."""
    from transformers import AutoTokenizer

    return from_base(AutoTokenizer.from_pretrained, base)


@cache  # once in a process, however many policies it builds
def _tell(base: str, model_type: str, shares: bool) -> None:
    road = (
        "is asked part by part"
        if shares
        else "goes the general road, which is slow: completions share no prompt (layout: rows)"
    )
    rank_zero_info(
        f"policy.base: '{base}' is of the {model_type} family and {road}; images are sized by its own processor, not by "
        "min_pixels and max_pixels"
    )


def _tower(model: nn.Module, general: General) -> list[nn.Parameter]:
    """All weights but those of the language model and of the head, some of which may be in no module of their own."""
    inside = {id(w) for path in (general.language_model, general.head) for w in model.get_submodule(path).parameters()}
    return [weight for weight in model.parameters() if id(weight) not in inside]


def _without_chance(model: Any) -> Any:
    """Without dropout: what is sampled is to be as probable as what is trained."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):  # attention_dropout, drop_prob: given to a function each time
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
    return model


def _recompute(base: str, model: Any) -> None:
    try:
        recompute_activations(model)
    except ValueError as error:
        told = f"has layers that cannot be computed again in the backward pass ({' '.join(str(error).split())})"
        raise belonging.refusal(base, told, "set policy.checkpointing: false") from error
