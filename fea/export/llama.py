"""GGUF files as llama.cpp reads them, through its server."""

from __future__ import annotations

import base64
import io
import json
import math
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fea.export.asked import Asked, Heard
from fea.export.gguf import MODEL, VISION
from fea.export.mmproj import least_tokens
from fea.model.config import PolicyConfig

_TOP = 1  # likeliest tokens that the server tells of each place; only the one that it writes is asked for
_ROOM = 4096  # tokens of a prompt with the knowledge of all units and the largest picture, twice over
_QUIET = -1  # of its log


def aligned(written: Sequence[int], known: Sequence[tuple[int, float]]) -> list[float]:
    """The log-probability of each token, NaN where it cannot be told.

    The server leaves out tokens that end within a character. Those that it tells of are laid along the answer from its
    beginning and from its end; where both agree, a token is known.

    Args:
        written: ids of all tokens.
        known: ids and log-probabilities, in their order, of some of them.
    """
    ids = [token for token, _ in known]
    first, last = _laid(written, ids), _laid(written[::-1], ids[::-1])[::-1]
    backwards = [None if place is None else len(ids) - 1 - place for place in last]
    return [
        known[place][1] if place is not None and place == other else math.nan
        for place, other in zip(first, backwards, strict=True)
    ]


def _laid(written: Sequence[int], ids: Sequence[int]) -> list[int | None]:
    """For each token the place of the next one of `ids` that is the same."""
    found: list[int | None] = []
    place = 0
    for token in written:
        here = place < len(ids) and ids[place] == token
        found.append(place if here else None)
        place += here
    return found


class Asking(NamedTuple):
    """What a network is asked by, when it is no more.

    Attributes:
        silent: ids of tokens that are never written.
        patch: pixels along each side of what the vision tower takes in as one.
        merge: patches along each side that become one visual token.
    """

    silent: Sequence[int]
    patch: int
    merge: int


class Llama:
    """A server of llama.cpp in this process, which listens to this machine alone and to those who know a word made up here.

    Args:
        folder: with the files.
        asking: how the network of the run is asked.
        policy: of the run, for the pixels of pictures.
        max_tokens: length limit of an answer.

    Attributes:
        told: what reads, in words.
    """

    def __init__(self, folder: Path, asking: Asking, policy: PolicyConfig, max_tokens: int):
        from importlib.metadata import version

        import xllamacpp

        side = asking.patch * asking.merge
        settings = xllamacpp.CommonParams()
        settings.model.path, settings.mmproj.path = str(folder / MODEL), str(folder / VISION)
        settings.image_min_tokens = least_tokens(policy.min_pixels, side)
        settings.image_max_tokens = policy.max_pixels // side**2
        settings.n_ctx, settings.n_parallel = _ROOM + max_tokens, 1
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = torch.get_num_threads()
        settings.use_jinja, settings.ui, settings.warmup = True, False, False
        settings.api_keys, settings.verbosity = [secrets.token_hex(16)], _QUIET
        # As exact as it can be: by default it keeps what it has read in 16 bits, which has nothing to do with the files.
        settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        self.server: Any = xllamacpp.Server(settings)
        self.asking, self.max_tokens = asking, max_tokens
        self.told = f"llama.cpp's server (xllamacpp {version('xllamacpp')})"

    def heard(self, asked: Sequence[Asked]) -> list[Heard]:
        """What the model writes about each question, with the log-probabilities of its own tokens."""
        return [self._heard(question) for question in asked]

    def _heard(self, question: Asked) -> Heard:
        shown = [
            {"type": "image_url", "image_url": {"url": self._picture(question)}},
            {"type": "text", "text": question.user},
        ]
        answer = self.server.handle_chat_completions(
            {
                "messages": [
                    {"role": "system", "content": question.system},
                    {"role": "user", "content": shown},
                ],
                "max_tokens": self.max_tokens,
                "temperature": 0,
                "logprobs": True,
                "top_logprobs": _TOP,
                "logit_bias": [[token, False] for token in self.asking.silent],
                "cache_prompt": False,
                "return_tokens": True,
                "verbose": True,
            }
        )
        told = answer if isinstance(answer, dict) else json.loads(answer)
        (choice,), written = told["choices"], told["__verbose"]["tokens"]
        content = choice.get("logprobs", {}).get("content", [])  # there is none if all tokens end within a character
        known = [(int(token["id"]), float(token["logprob"])) for token in content]
        return Heard(torch.tensor(aligned(written, known)), written)

    def _picture(self, question: Asked) -> str:
        """The picture in the size that the run sees it in: llama.cpp makes pictures smaller in a way of its own."""
        from PIL import Image

        rows, columns = question.grid
        picture = question.image.resize(
            (columns * self.asking.patch, rows * self.asking.patch), Image.Resampling.BICUBIC
        )
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
