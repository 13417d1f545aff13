"""Three optimizer steps of `configs/grpo.yaml`: memory against the plan, seconds, and how far sampling is from training.

pytest -m gpu tests/gpu/test_grpo_step.py    (5 minutes on a card; not run on a GPU yet)

All completions are as long as they may be.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from .bases import Bases
from .checks import BITS
from .fits import run_of, tell_memory

pytestmark = pytest.mark.gpu

PARTS = ("rollout", "reward", "old_and_reference", "train")


@pytest.mark.parametrize("bits", BITS)
def test_three_steps(bits: str, bases: Bases, figures: Callable[..., None]) -> None:
    run = run_of("grpo", bits, bases.of("3B"), f"grpo-{bits[0]}")
    said, check = run.end(), f"GRPO step, {bits}"
    curves = {name: values[-1] for name, values in run.curves().items()}
    seconds = ", ".join(f"{part} {curves[f'time/{part}']:.1f}" for part in PARTS)
    figures(f"{check}: seconds", f"{seconds}; whole {run.taken()['seconds'][-1]:.1f}")
    sampling = ", ".join(
        f"{name} {curves[f'train/{name}']:.4f}" for name in ("sampling_gap", "kl", "sampling_ratio_max")
    )
    figures(f"{check}: sampling", sampling)
    checked = re.findall(r"self-check: .*nats: (.*)", said)
    assert len(checked) == 1
    figures(f"{check}: self-check", checked[0])
    tell_memory(f"{check}: peak", run, figures)
