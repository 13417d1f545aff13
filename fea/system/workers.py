"""Work on many small things by all processors of this machine, in order; it is light, unlike the processes of a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_MOST = 8  # processes: beyond these the one that hands out the work is the slowest
_ENOUGH = 20_000  # things of a fifth of a millisecond: fewer are done before another process has started
_AT_ONCE = 500  # that are handed over together


def spread(work: Callable[[T], R], things: Sequence[T], enough: int = _ENOUGH) -> Iterator[R]:
    """What `work` makes of each thing, in their order.

    Args:
        work: a function that can be pickled; the same for the same thing, whoever calls it.
        things: that it works on.
        enough: from how many on other processes help.
    """
    count = min(_processors(), _MOST)
    if count < 2 or len(things) < enough:
        yield from map(work, things)
        return
    # Started anew, not forked: a fork takes over locks that threads of this process hold.
    with ProcessPoolExecutor(count, get_context("spawn"), _started) as pool:
        yield from pool.map(work, things, chunksize=_AT_ONCE)


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _started() -> None:
    """Of a process that helps: Ctrl-C is for the one that began it, and when that is gone, it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    if parent := parent_process():
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
