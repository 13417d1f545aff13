"""Two optimizer steps of `configs/grpo.yaml` with the 7B model, where the card has room.

pytest -m gpu tests/gpu/test_seven.py    (9 minutes on a card of 80 GB; not run on a GPU yet)
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from .bases import Bases
from .checks import BITS
from .fits import run_of, tell_memory
from .setting import REHEARSAL

pytestmark = pytest.mark.gpu

NEEDED = 70 * 2**30  # bytes; the model is made and run on the card, and other jobs may be there


@pytest.mark.parametrize("bits", BITS)
def test_two_steps(bits: str, bases: Bases, figures: Callable[..., None]) -> None:
    if not REHEARSAL and (free := torch.cuda.mem_get_info()[0]) < NEEDED:
        pytest.skip(f"{free / 2**30:.0f} GiB free on the card, {NEEDED / 2**30:.0f} needed")
    run = run_of("grpo", bits, bases.of("7B"), f"seven-{bits[0]}", trainer__max_steps=2)
    run.end()
    tell_memory(f"GRPO step of 7B, {bits}: peak", run, figures)
