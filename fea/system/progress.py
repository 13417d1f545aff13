"""How far long work is: a bar on a terminal; elsewhere, as in a log file, a plain line now and then.

2025-03-01 14:30:05 images 320/2000, 16%, 0:01:10 gone, 4.57/s, 0:06:08 left
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from tqdm import tqdm

EVERY = 60.0  # seconds between two lines: an hour is a page, and whoever looks into a log finds a line of just now


@contextmanager
def progress(total: int, unit: str, done: int = 0, silent: bool = False) -> Iterator[Callable[[int], object]]:
    """Shows on standard error how far a piece of work is.

    Args:
        total: how much there is.
        unit: what is counted, in the plural.
        done: how much of it an earlier run has done.
        silent: shows nothing, as in all processes but the first.

    Yields:
        What is called with how much more has been done.
    """
    if silent or sys.stderr.isatty():
        with tqdm(total=total, initial=done, unit=f" {unit}", file=sys.stderr, disable=silent) as bar:
            yield bar.update
    else:
        lines = _Lines(total, unit, done)
        yield lines.update
        lines.say()


def now() -> str:
    """The time of day as a line begins with it, in the time of this machine."""
    return f"{datetime.now():%Y-%m-%d %H:%M:%S}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds; days are hours too, so that a column stays one."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class _Lines:
    """A line for a part of the work whenever one is due."""

    def __init__(self, total: int, unit: str, done: int):
        self.total, self.unit, self.done, self.before = total, unit, done, done
        self.begun = self.said = time.monotonic()

    def update(self, more: int) -> None:
        """Counts, and says a line if the last one was long ago."""
        self.done += more
        if time.monotonic() - self.said >= EVERY:
            self.say()

    def say(self) -> None:
        """Says how far the work is."""
        self.said = time.monotonic()
        gone, here = self.said - self.begun, self.done - self.before
        left = f", {duration(gone / here * (self.total - self.done))} left" if here and self.done < self.total else ""
        rate = f", {here / gone:.3g}/s" if here and gone >= 1 else ""  # of less than a second it would say little
        share = f"{self.done / self.total:.0%}" if self.total else "100%"
        told = f"{now()} {self.unit} {self.done}/{self.total}, {share}, {duration(gone)} gone{rate}{left}"
        print(told, file=sys.stderr, flush=True)
