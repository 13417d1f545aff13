"""A limit on the time of a call that nobody can stop, such as one of a service."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from fea.errors import FEAError

# Calls that may be under way at once although nobody waits for them any more: with as many, a service has stopped to answer.
_MOST = 16


class Late(Exception):
    """A call took longer than it may."""


class Patience:
    """Waits for calls, for some seconds each.

    A call runs in a thread of its own. One that is late goes on there, since a thread cannot be stopped; its result is dropped,
    and the process ends without it.

    Args:
        seconds: for each call.

    Raises:
        FEAError: no time at all.
    """

    def __init__(self, seconds: float):
        if not 0 < seconds < math.inf:
            raise FEAError(f"timeout: {seconds}; give the seconds that a call may take, or null for no limit")
        self.seconds = seconds
        self.late: list[threading.Thread] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns; what it raises is raised here.

        Raises:
            Late: it is not done in time, or too many earlier calls still are not.
        """
        self.late = [thread for thread in self.late if thread.is_alive()]
        if len(self.late) >= _MOST:
            raise Late
        outcome: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

        def run() -> None:
            try:
                outcome.put((function(*arguments), None))
            except BaseException as error:  # whatever it is, it belongs to the one who asked
                outcome.put((None, error))

        thread = threading.Thread(target=run, daemon=True)  # the interpreter does not wait for a daemon at its end
        thread.start()
        try:
            returned, error = outcome.get(timeout=self.seconds)
        except Empty:
            self.late.append(thread)
            raise Late from None
        if error is not None:
            raise error
        return returned
