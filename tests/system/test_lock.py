"""Locks: other processes stay out, forked ones hold nothing, the end of a process or of its interest frees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fea.system.files import lock

TRY = "import sys; from pathlib import Path; from fea.system.files import lock; print(lock(Path(sys.argv[1])) is not None)"


def free(file: Path) -> bool:
    """Whether another process gets the lock."""
    tried = subprocess.run([sys.executable, "-c", TRY, str(file)], capture_output=True, text=True, check=True)
    return tried.stdout == "True\n"


def test_a_lock_keeps_other_processes_out_until_it_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "new" / ".lock"
    held = lock(file)
    assert held is not None
    assert not free(file)
    held.close()
    assert free(file)


def test_a_lock_that_is_forgotten_is_free(tmp_path: Path) -> None:
    held = lock(tmp_path / ".lock")
    assert not free(tmp_path / ".lock")
    del held
    assert free(tmp_path / ".lock")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_worker_holds_nothing(tmp_path: Path) -> None:
    held = lock(tmp_path / ".lock")
    assert held is not None
    pipe, end = os.pipe()
    worker = os.fork()
    if not worker:
        os.close(end)
        os.read(pipe, 1)  # until the test is over
        os._exit(0)
    try:
        held.close()
        assert free(tmp_path / ".lock")
    finally:
        os.close(end)
        os.waitpid(worker, 0)
