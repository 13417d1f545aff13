"""What the measurement sees that the plan is compared with."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from measuring import OWN_MAPPING, Alive, Measured, mapped
from torch import Tensor

# Bytes: more than earlier tests may have left free in the heap of this process, out of which smaller blocks are cut whatever
# their size. Nothing is written there, so that it costs no memory.
LARGE = 256 * OWN_MAPPING


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    monkeypatch.setenv("FEA_MEASURED", str(tmp_path))
    return Measured()


def given_back_elsewhere(held: list[Tensor]) -> None:
    """As a thread of gloo gives back what it was the last to hold."""
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()


@pytest.mark.parametrize("marked", [True, False])
def test_what_another_thread_gives_back_is_gone_at_the_next_mark(measured: Measured, marked: bool) -> None:
    measured.begin()
    held = [torch.empty(LARGE // 4)]
    measured.on_train_batch_start()
    given_back_elsewhere(held)
    if marked:
        measured.on_before_backward()
    # Each is too small for a mapping of its own, so that none lies where the large block was.
    kept = [torch.empty(OWN_MAPPING // 8) for _ in range(12)]
    expected = sum(block.nbytes for block in kept) + (0 if marked else LARGE)
    assert measured.peaks()["update"] == pytest.approx(expected, rel=0.05)


def test_a_large_block_that_is_there_stays() -> None:
    alive, block = Alive(), torch.empty(LARGE // 4)
    alive.change(block.data_ptr(), block.nbytes)
    alive.forget(mapped())
    assert alive.bytes == LARGE
