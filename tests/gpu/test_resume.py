"""Killed in the middle and resumed.

pytest -m gpu tests/gpu/test_resume.py    (6 minutes on a card; not run on a GPU yet)

On a CPU the resumed run ends with the weights of one that was not killed, to the bit. On a card that holds as far as two runs
are the same there, which test_repeat tells.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
from conftest import SAVE_EACH_STEP

from .bases import Bases
from .fits import Run, run_of
from .setting import CARD
from .test_repeat import apart, weights

pytestmark = pytest.mark.gpu

STEPS = 5


def kill_after_a_checkpoint(run: Run) -> None:
    """Starts it, and kills it in the step after its second."""
    process, deadline = run.start(), time.monotonic() + 400
    while (
        not (run.folder / "checkpoints" / "step2.ckpt").exists()
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.said()


def test_killed_and_resumed(bases: Bases, figures: Callable[..., None]) -> None:
    whole, killed = (
        run_of("grpo", "bf16", bases.of("3B"), name, SAVE_EACH_STEP, trainer__max_steps=STEPS)
        for name in ("whole", "killed")
    )
    whole.end()
    kill_after_a_checkpoint(killed)
    said = killed.end("--resume")
    assert "resume: from " in said
    difference = apart(weights(whole, STEPS), weights(killed, STEPS))
    losses = [run.curves()["train/loss"][-1] for run in (whole, killed)]
    told = f"ends after {STEPS} steps, largest difference {difference:.1e}, last losses {losses[0]:.5f} and {losses[1]:.5f}"
    figures("killed and resumed", told, True if CARD else difference == 0)
