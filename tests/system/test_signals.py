"""The signals that ask for an end, and that knowing them costs nothing."""

from __future__ import annotations

import signal
import subprocess
import sys

from fea.system.signals import SIGNALS
from fea.training import interruption


def test_schedulers_send_one_of_two() -> None:
    assert SIGNALS == (signal.SIGTERM, signal.SIGUSR1) == interruption.SIGNALS


def test_fits_in_processes_of_their_own_need_no_torch() -> None:
    code = "import sys, fea.training.fits; print(sorted({'torch', 'lightning', 'datasets'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
