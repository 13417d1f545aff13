"""Three optimizer steps of `configs/sft.yaml`: memory against the plan, and seconds.

pytest -m gpu tests/gpu/test_sft_step.py    (4 minutes on a card; not run on a GPU yet)
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .bases import Bases
from .checks import BITS
from .fits import run_of, tell_memory

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("bits", BITS)
def test_three_steps(bits: str, bases: Bases, figures: Callable[..., None]) -> None:
    run = run_of("sft", bits, bases.of("3B"), f"sft-{bits[0]}")
    run.end()
    seconds = run.taken()["seconds"]
    assert len(seconds) == 3
    figures(f"SFT step, {bits}: seconds", ", ".join(f"{took:.1f}" for took in seconds))
    tell_memory(f"SFT step, {bits}: peak", run, figures)
