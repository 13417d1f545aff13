"""Commands of fea in processes of their own: they import what this one would, and do not outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

_SOURCE = Path(__file__).resolve().parents[2]  # the folder that fea lies in
_WATCHES = "FEA_WATCHES_INPUT"  # says to a process that its standard input ends when the process that started it does
# Seconds between the request to stop and the end: enough to write a checkpoint of tens of gigabytes.
_PATIENCE = 600


def start(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Starts a command.

    Nothing in the working directory may stand for a library that the command needs, as it would with `python -m`: Python is
    told to leave that folder out, and `fea.cli` puts it last. Only where fea itself lies in it, it has to be found there.

    Args:
        arguments: the words after `fea`.
    """
    safe = {} if Path.cwd() == _SOURCE else {"PYTHONSAFEPATH": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "fea", *arguments], stdin=subprocess.PIPE, env={**os.environ, **safe, _WATCHES: "1"}
    )


def watch_parent() -> None:
    """Ends this process as a scheduler would, if `start` began it and the process that called that is gone.

    However that ended, the system closes its end of the pipe.
    """
    if os.environ.pop(_WATCHES, None):
        Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    import psutil  # here, since every command would wait for it

    time.sleep(_PATIENCE)
    psutil.Process().kill()
