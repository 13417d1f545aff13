"""Builds the network behind a policy: one of a known family from a folder, the hub or a config; in 4 bits; with an adapter.

The heavy libraries are imported inside the functions, so that a mistake in a config is reported at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fea.errors import FEAError
from fea.model import attention, belonging, deepstack, lora, norm, vision
from fea.model.config import PolicyConfig
from fea.model.families.family import Family
from fea.model.families.known import FAMILIES, TINY, of_type, publisher
from fea.model.network import Network
from fea.model.tiny import build_config, build_image_processor, build_model, build_tokenizer

# Of the prompts, with the tokenizers of large models, at least: the knowledge of Action Units has 3.79, as each digit is a
# token and rare words ("nasolabial") are several.
_LETTERS_A_TOKEN = 3.75


def load(config: PolicyConfig, start: Mapping[str, Tensor], empty: bool = False) -> Network:
    """Builds the network with frozen and trainable parts marked.

    Args:
        config: what to build.
        start: weights to begin from instead of the base's; adapter weights among them go into the adapter.
        empty: all weights and buffers are on the device "meta", for a process that is given their values by another one.

    Raises:
        FEAError: the base cannot be found, or `start` does not fit it.
    """
    family = _family_of(config)
    if config.base != "tiny":
        belonging.check_files(config.base)
    tokenizer, image_processor = _processors(family, config)
    with torch.device("meta") if empty else nullcontext():
        if config.base == "tiny":
            model = build_model(family, tokenizer, config.tiny).to(getattr(torch, config.dtype))
        else:
            belonging.check_parts(config.base, family, _config_of(config.base), tokenizer, image_processor)
            model = _pretrained(family, config, empty)
        model = _prepared(family, model, config, start)
    return Network(family, model, tokenizer, image_processor)


def skeleton(config: PolicyConfig, layers: int | None = None) -> Network:
    """The network of a config with sizes and no weights: all of these are on the device "meta".

    Args:
        config: of the policy.
        layers: of its language model, if not all.

    Raises:
        FEAError: the dimensions of the base are not known.
    """
    family = publisher(config.base) or _family_of(config)
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
        sizes = _config_of(config.base)
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
    model.requires_grad_(False)
    whole = {name: weight for name, weight in start.items() if "lora_" not in name}
    adapted = {name: weight for name, weight in start.items() if "lora_" in name}
    load_weights(model, whole)
    if config.lora:
        lora.add(model, family, config.lora)
        load_weights(model, adapted)
    else:
        if adapted:
            raise FEAError("model.init_from: it holds an adapter; give policy.lora the same rank, alpha and targets")
        model.requires_grad_(True)
        model.get_submodule(family.vision_tower).requires_grad_(config.train_vision)
    if config.checkpointing:
        _recompute_activations(model)
    elif config.lora and config.lora.vision:  # four patches for each visual token are too many to keep
        _recompute_activations(model.get_submodule(family.vision_tower))
    return model.train()  # from_pretrained leaves it in eval mode


def _recompute_activations(model: Any) -> None:
    """In the backward pass. Nothing in a layer is random, so the states of random generators are not kept for it."""
    # The second name is that of older versions of transformers.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False, "preserve_rng_state": False})


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


def load_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies weights into the parameters of the same name.

    Raises:
        FEAError: a name or a shape does not fit.
    """
    parameters = dict(module.named_parameters())
    for name, weight in weights.items():
        if name not in parameters or parameters[name].shape != weight.shape:
            found = (
                "has no such weight" if name not in parameters else f"has shape {tuple(parameters[name].shape)} there"
            )
            raise FEAError(
                f"the weights belong to another model: '{name}' of shape {tuple(weight.shape)}, and this one {found}; "
                "use the same policy.base, policy.tiny and policy.lora as the run they come from"
            )
        with torch.no_grad():
            parameters[name].copy_(weight)


def _processors(family: Family, config: PolicyConfig) -> tuple[Any, Any]:
    if config.base == "tiny":
        tokenizer, image_processor = build_tokenizer(family), build_image_processor(family)
    else:
        from transformers import AutoImageProcessor, AutoTokenizer

        tokenizer = _from(AutoTokenizer.from_pretrained, config.base)
        tokenizer.chat_template = tokenizer.chat_template or _template(config.base)
        image_processor = _from(AutoImageProcessor.from_pretrained, config.base)
    image_processor.size = {"shortest_edge": config.min_pixels, "longest_edge": config.max_pixels}
    return tokenizer, image_processor


def _template(base: str) -> str | None:
    """The chat template of a base that has it in a file of its own, as folders of earlier years do."""
    from transformers.utils import cached_file

    silent = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    file = cached_file(base, "chat_template.json", **silent)
    try:
        return str(json.loads(Path(file).read_text(encoding="utf-8"))["chat_template"]) if file else None
    except (ValueError, KeyError, TypeError) as error:
        raise FEAError(
            f"policy.base: '{file}' holds no chat template ({error}); copy it from the model that '{base}' was made from"
        ) from error


def count_tokens(config: PolicyConfig, text: str) -> int:
    """Tokens of a text; estimated if the tokenizer of the base is not here."""
    if config.base != "tiny" and not Path(config.base).is_dir():
        return math.ceil(len(text) / _LETTERS_A_TOKEN)
    return len(_processors(_family_of(config), config)[0](text)["input_ids"])


def _family_of(config: PolicyConfig) -> Family:
    if config.base == "tiny":
        return of_type(config.tiny.family) or TINY
    sizes = _config_of(config.base)
    belonging.check_sees(config.base, sizes)
    if family := of_type(sizes.model_type):
        return family
    titles = ", ".join(family.title for family in FAMILIES)
    raise FEAError(f"policy.base: '{config.base}' is a {sizes.model_type} model; name one of these families: {titles}")


def _config_of(base: str) -> Any:
    from transformers import AutoConfig

    belonging.check_place(base)
    return _from(AutoConfig.from_pretrained, base)


def _pretrained(family: Family, config: PolicyConfig, empty: bool) -> Any:
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    options: dict[str, Any] = {"dtype": getattr(torch, config.dtype), "output_loading_info": True}
    options |= {"ignore_mismatched_sizes": True}  # it would raise a table of them; here they are one sentence
    if empty:
        options |= {"device_map": {"": "meta"}}
    if config.four_bit:
        options |= {"quantization_config": _four_bit(family)}
        if torch.cuda.is_available():  # straight to the card: a copy in host memory may not fit
            options |= {"device_map": {"": torch.cuda.current_device()}}
    if Path(config.base).is_dir():  # a bar is for what takes long
        logging.disable_progress_bar()
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # of weights that do not fit it would print a table
    try:
        model, found = _from(AutoModelForImageTextToText.from_pretrained, config.base, **options)
    finally:
        logging.enable_progress_bar()
        logging.set_verbosity(level)
    belonging.check_loaded(config.base, found)
    for module in model.modules():
        # On a CPU with AVX512-BF16, bitsandbytes repacks 4-bit weights for inference and then gives no gradient.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def _four_bit(family: Family) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_quant_storage=torch.bfloat16,  # what sharding needs
        llm_int8_skip_modules=list(family.kept_whole),
    )


def _from(load: Any, base: str, **options: Any) -> Any:
    """Loads from a folder or the hub, with one sentence if there is nothing."""
    from safetensors import SafetensorError

    try:
        return load(base, **options)
    except (OSError, ValueError, SafetensorError) as error:
        why = str(error).strip().splitlines()[0]
        raise FEAError(
            f"policy.base: cannot load '{base}' from a folder or the hub ({why}); name another, for a trained run with --base"
        ) from error
