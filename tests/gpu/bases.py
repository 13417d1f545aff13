"""Models with the dimensions of published ones and random weights, made on the machine."""

from __future__ import annotations

import itertools
import json
import shutil
import string
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from score_offsets import offset_scores
from tokenizers import Tokenizer

from fea.model.families.qwen2_5_vl import QWEN2_5_VL as FAMILY
from fea.model.tiny import build_image_processor, build_tokenizer

from .setting import DEVICE, SIZES, TOKENIZER, release

_UNUSED = 271  # ids of the 3B model that no token has
_SPARE = 3 * 2**30  # bytes of disk for what else a session writes


class Bases:
    """Folders with models, each made when it is first asked for.

    Args:
        folder: that they are in.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def of(self, name: str, offset: float | None = None) -> Path:
        """A model of that name; with an offset, one whose attention scores all have it.

        Skips the test where the disk has no room.
        """
        where = self._where(name, offset)
        if not where.exists():
            with torch.device("meta"):
                needed = 2 * sum(weight.numel() for weight in _model(name, _tokenizer(name)).parameters())
            free = shutil.disk_usage(self.folder).free
            if free < needed + _SPARE:
                pytest.skip(f"{free / 2**30:.0f} GiB of disk left, {(needed + _SPARE) / 2**30:.0f} needed")
            _make(name, offset, where)
            release()
        return where

    def remove(self, name: str, offset: float | None = None) -> None:
        """Makes room on the disk."""
        shutil.rmtree(self._where(name, offset), ignore_errors=True)

    def _where(self, name: str, offset: float | None) -> Path:
        return self.folder / (name if offset is None else f"{name}-{offset:g}")


def _make(name: str, offset: float | None, where: Path) -> None:
    tokenizer = _tokenizer(name)
    torch.manual_seed(0)
    with DEVICE:
        model = _model(name, tokenizer)
    if offset is not None:
        offset_scores(model.get_submodule(FAMILY.language_model), offset)
    for part in (model, tokenizer, build_image_processor(FAMILY)):
        part.save_pretrained(where)


def _model(name: str, tokenizer: Any) -> Any:
    known = deepcopy(SIZES.models[name])  # a config writes into it
    end, padding = tokenizer.convert_tokens_to_ids([FAMILY.end_token, "<|endoftext|>"])
    tokens = {"bos_token_id": None, "eos_token_id": end, "pad_token_id": padding}
    words = max(known.text["vocab_size"], len(tokenizer))  # of a published one there are more than in a rehearsal
    config = getattr(transformers, FAMILY.config_class)(
        text_config={**known.text, **tokens, "vocab_size": words, "initializer_range": SIZES.spread},
        vision_config={**known.vision, "initializer_range": SIZES.spread},
        tie_word_embeddings=known.tied,
        initializer_range=SIZES.spread,
        **{key: tokenizer.convert_tokens_to_ids(token) for key, token in FAMILY.never_sampled.items()},
    )
    model = getattr(transformers, FAMILY.model_class)._from_config(config, dtype=torch.bfloat16)
    model.generation_config.eos_token_id = [end, padding]
    model.generation_config.pad_token_id = padding
    return model


def _tokenizer(name: str) -> Any:
    """That of the published model if it is named, else the tiny one, filled up with words of four letters.

    With no more tokens than the tiny one has, a random model would end after a few hundred.
    """
    if TOKENIZER:
        return transformers.AutoTokenizer.from_pretrained(TOKENIZER)
    tiny = build_tokenizer(FAMILY)
    told = json.loads(tiny.backend_tokenizer.to_str())
    known, special = told["model"]["vocab"], told["added_tokens"]
    words = ("Ġ" + "".join(letters) for letters in itertools.product(string.ascii_lowercase, repeat=4))
    further = (word for word in words if word not in known)
    room = SIZES.models[name].text["vocab_size"] - _UNUSED - len(special)
    known |= dict(zip(further, range(len(known), room), strict=False))
    for token, number in zip(special, itertools.count(room), strict=False):
        token["id"] = number
    kept = ("unk_token", "bos_token", "eos_token", "pad_token", "extra_special_tokens")
    settings = {key: tiny.init_kwargs[key] for key in (*kept, "model_max_length", "padding_side", "chat_template")}
    return type(tiny)(tokenizer_object=Tokenizer.from_str(json.dumps(told)), **settings)
