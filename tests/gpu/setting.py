"""Where the checks run and how large they are: the one place that decides."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from fea.model.families.family import Dimensions
from fea.model.families.qwen2_5_vl import QWEN2_5_VL

CARD = torch.cuda.is_available()
REHEARSAL = os.environ.get("FEA_GPU_REHEARSAL") == "1"
DEVICE = torch.device("cuda" if CARD else "cpu")
TOKENIZER = os.environ.get("FEA_TOKENIZER")


class Sizes(NamedTuple):
    """How large the checks are.

    Attributes:
        models: dimensions by what a model is called here.
        spread: of their random weights.
        shown: settings of a policy, about what it is shown.
        prompts: that are written to together.
        group: completions of each.
        tokens: of each.
        timed: times that something is done for a figure.
        trunk: tokens that all prompts begin with, where attention is looked at by itself.
        own: tokens of a prompt behind these.
        fit: settings of both stages by dotted name, beside those of the shipped configs.
        grpo: of stage 2 alone.
    """

    models: Mapping[str, Dimensions]
    spread: float
    shown: Mapping[str, Any]
    prompts: int
    group: int
    tokens: int
    timed: int
    trunk: int
    own: int
    fit: dict[str, Any]
    grpo: dict[str, Any]


def _little(layers: int, tied: bool) -> Dimensions:
    # As wide as is needed for a gap between sampling and training to be seen, and as many words as fill two chunks of a head
    # and are not all in the tokenizer.
    tiny = QWEN2_5_VL.tiny.dimensions(256, layers, 4, 64, 2)
    turning = {**tiny.text["rope_parameters"], "rope_theta": 1e6}
    return replace(tiny, text={**tiny.text, "vocab_size": 9000, "rope_parameters": turning}, tied=tied)


# As in configs/grpo.yaml: 8 prompts, 8 completions of 256 tokens. All images have as many tokens as the memory plan foresees.
REAL = Sizes(
    models={name.partition("VL-")[2].partition("-")[0]: known for name, known in QWEN2_5_VL.published.items()},
    spread=0.02,  # as transformers draws them
    shown={"min_pixels": 448 * 448, "max_pixels": 448 * 448},
    prompts=8,
    group=8,
    tokens=256,
    timed=24,
    trunk=682,  # of the full knowledge in the published tokenizer
    own=287,
    fit={},
    grpo={},
)
LITTLE = Sizes(
    models={"3B": _little(3, tied=True), "7B": _little(2, tied=False)},
    spread=0.035,  # so that words differ in their probability
    shown={"min_pixels": 56 * 56, "max_pixels": 56 * 56, "knowledge": "brief"},
    prompts=4,
    group=4,
    tokens=32,
    timed=3,
    trunk=70,
    own=20,
    fit={
        "model.generation.max_tokens": 6, "data.batch_size": 2, "data.num_workers": 0,
        "trainer.accumulate_grad_batches": 2, "model.optimization.lr": 1e-3,
    },
    grpo={"model.group_size": 2},
)  # fmt: skip
SIZES = LITTLE if REHEARSAL else REAL


def synchronize() -> None:
    """Waits until the device has done all it was told."""
    if CARD:
        torch.cuda.synchronize()


def release() -> None:
    """Gives memory of the card back, for other processes."""
    gc.collect()
    if CARD:
        torch.cuda.empty_cache()


def milliseconds(work: Callable[[], object], times: int = SIZES.timed) -> float:
    """How long something takes, on average of several times, once it is warm."""
    for _ in range(2):
        work()
    synchronize()
    start = time.perf_counter()
    for _ in range(times):
        work()
    synchronize()
    return (time.perf_counter() - start) / times * 1e3


def autocast() -> torch.autocast:
    """Mixed precision as in the shipped configs."""
    return torch.autocast(DEVICE.type, torch.bfloat16)
