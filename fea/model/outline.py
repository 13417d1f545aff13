"""Reads a `General` off a base that belongs to none of the known families: where its parts lie, and how it is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn

from fea.model import belonging
from fea.model.chat import end_of_turn, manner_of
from fea.model.families.general import General

# Settings of a config that name tokens which stand for something else than text; not those that begin, end or fill up one.
_BREAKING = re.compile(r"(?!bos_|eos_|pad_|sep_|cls_|mask_|unk_|decoder_)\w+_token_(id|index)")

# Families whose images are read at the image tokens alone, with the features that `get_image_features` of their networks gives;
# and language models that are causal, with one position a token. `tests/model/test_general_road.py` holds them to it.
_SHARING = {"smolvlm", "internvl", "llava_onevision"}
_CAUSAL = {"llama", "qwen2", "qwen3"}


def outline(base: str, config: Any, processor: Any) -> General:
    """Reads it off the parts of a base, before its weights are read.

    Args:
        base: as it was named.
        config: of the base.
        processor: of the base, as `load_processor` gives it.

    Raises:
        FEAError: something is not to be found.
    """
    tokenizer, words = processor.tokenizer, processor.tokenizer.get_vocab()
    rows, image = int(config.get_text_config().vocab_size), getattr(config, "image_token_id", None)
    if not isinstance(image, int) or not 0 <= image < rows:
        told = f"is a {config.model_type} model whose config.json names no token for an image (image_token_id)"
        raise belonging.refusal(base, told, "name another model")
    belonging.check_words(base, words, rows)
    belonging.check_ends(base, rows)
    place = getattr(processor, "image_token", None) or tokenizer.convert_ids_to_tokens(image)
    manner = manner_of(base, tokenizer, place)
    end = end_of_turn(tokenizer, manner)
    if end is None:
        told = "has a chat template without a token that ends an answer, and a tokenizer without one that ends a text"
        raise belonging.refusal(base, told, f"copy both {belonging.ORIGIN}")
    network, language, head = _parts(base, config)
    return General(
        model_type=config.model_type,
        image_token=tokenizer.convert_ids_to_tokens(image),
        place=place,
        end_token=end,
        never_sampled={
            name: tokenizer.convert_ids_to_tokens(value) for name, value in _no_text(config, words[end], rows)
        },
        language_model=language,
        head=head,
        seeing=tuple(_beside(network, "", (language, head))),
        lora_targets=_linear(network, language, head),
        manner=manner,
        shares=shares(config),
    )


def _no_text(config: Any, end: int, rows: int) -> Iterator[tuple[str, int]]:
    """Names and ids of the tokens that a config names for images and the like."""
    for name, value in config.to_dict().items():
        if _BREAKING.fullmatch(name) and isinstance(value, int) and 0 <= value < rows and value != end:
            yield name, value


def shares(config: Any) -> bool:
    """Whether completions can share their prompt, as far as it is known: of others nobody has looked.

    Args:
        config: of the base.
    """
    text = config.get_text_config()
    whole = set(getattr(text, "layer_types", None) or []) <= {"full_attention"}  # no windows, no recurrent states
    return config.model_type in _SHARING and text.model_type in _CAUSAL and whole


def kinds_of(text: Any) -> list[str]:
    """Kinds of the layers of a language model, as far as they repeat; empty if its config tells none.

        window window whole | window window whole | window window      are      window window whole

    Args:
        text: config of the language model.
    """
    kinds = list(getattr(text, "layer_types", None) or [])
    lengths = range(1, len(kinds))
    return next((kinds[:length] for length in lengths if kinds[length:] == kinds[:-length]), kinds)


def _parts(base: str, config: Any) -> tuple[Any, str, str]:
    """The network without weights, and the paths of its language model and of its head."""
    from transformers import AutoModelForImageTextToText

    try:
        with torch.device("meta"):
            network = cast(Any, AutoModelForImageTextToText.from_config(config))
    except ValueError as error:
        told = f"is a {config.model_type} model, which transformers cannot ask about images in words"
        raise belonging.refusal(base, told, "name another model") from error
    head = network.get_output_embeddings()  # None where there is none
    paths = {id(module): path for path, module in network.named_modules()}
    found = paths.get(id(network.get_decoder()), ""), paths.get(id(head), "")
    plain = isinstance(head, nn.Linear) and head.bias is None
    if not all(found) or not plain or not network.can_generate():
        told = f"is a {config.model_type} model, of which no part is known as the one that reads and writes text"
        raise belonging.refusal(base, told, "name another model")
    return network, *found


def _beside(module: nn.Module, prefix: str, parts: tuple[str, ...]) -> Iterator[str]:
    """Paths of the largest modules that hold none of some parts, and lie in none of them."""
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if any(part.startswith(f"{path}.") for part in parts):
            yield from _beside(child, f"{path}.", parts)
        elif path not in parts:
            yield path


def _linear(network: nn.Module, language: str, head: str) -> str:
    """Pattern of the linear layers of the language model."""
    inner = dict(network.get_submodule(language).named_modules())
    outer = head.removeprefix(f"{language}.")
    names = {
        name.rpartition(".")[2] for name, module in inner.items() if isinstance(module, nn.Linear) and name != outer
    }
    return rf"{re.escape(language)}\.(.*\.)?({'|'.join(sorted(names))})"
