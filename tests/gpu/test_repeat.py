"""The same run twice: are its weights the same? And what does `trainer.deterministic` say?

pytest -m gpu tests/gpu/test_repeat.py    (6 minutes on a card; not run on a GPU yet)

Told, not held: kernels of a card may add up in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import processes
import pytest
import torch
from conftest import SAVE_EACH_STEP
from torch import Tensor

from .bases import Bases
from .fits import Run, run_of

pytestmark = pytest.mark.gpu

STEPS = 2


def weights(run: Run, step: int = STEPS) -> dict[str, Tensor]:
    """What a run has trained."""
    checkpoint = torch.load(run.folder / "checkpoints" / f"step{step}.ckpt", weights_only=True, map_location="cpu")
    found: dict[str, Tensor] = checkpoint["state_dict"]
    return found


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of a weight."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def twice(base: Path, **settings: object) -> list[Run]:
    names = (f"repeat-{len(settings)}-{number}" for number in (1, 2))
    return [run_of("grpo", "bf16", base, name, SAVE_EACH_STEP, trainer__max_steps=STEPS, **settings) for name in names]


def test_the_same_run_twice(bases: Bases, figures: Callable[..., None]) -> None:
    runs = twice(bases.of("3B"))
    for run in runs:
        run.end()
    first, second = map(weights, runs)
    assert apart(first, weights(runs[0], 1)) > 0  # it learns
    same = sum(torch.equal(first[name], second[name]) for name in first)
    figures(
        "the same run twice", f"{same} of {len(first)} weights equal, largest difference {apart(first, second):.1e}"
    )


def test_deterministic(bases: Bases, figures: Callable[..., None]) -> None:
    runs = twice(bases.of("3B"), trainer__deterministic="true")
    ended = processes.ended(runs[0].start(), timeout=240)
    if ended.returncode:
        figures("trainer.deterministic", f"ends with {ended.stderr.strip().splitlines()[-1][:200]}")
        return
    runs[1].end()
    figures("trainer.deterministic", f"runs; largest difference of two {apart(*map(weights, runs)):.1e}")
