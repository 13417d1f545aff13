"""Precisions that break are refused in a sentence, before any work.

pytest -m gpu tests/gpu/test_refused.py    (1 minute on a card; not run on a GPU yet)
"""

from __future__ import annotations

from collections.abc import Callable

import processes
import pytest

from .bases import Bases
from .checks import PRECISIONS
from .fits import run_of

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_that_breaks(precision: str, bases: Bases, figures: Callable[..., None]) -> None:
    run = run_of("grpo", "bf16", bases.of("3B"), precision, trainer__precision=precision)
    ended = processes.ended(run.start(), timeout=240)
    last = (ended.stderr.strip().splitlines() or ["nothing"])[-1]
    refused = ended.returncode != 0 and "Traceback" not in ended.stderr and "trainer.precision" in last
    figures(f"precision {precision}", f"exit code {ended.returncode}: {last[:200]}", refused)
