"""Bounds what is in memory at a time: requests, bytes of their bodies, and pictures made ready before the model takes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Condition, Lock

_COPIES = 3  # of a body, for a moment: as it came, as text, and as bytes of the picture
_PATIENCE = 120.0  # seconds that a request waits for room before it is sent away


class BusyError(Exception):
    """There is no room for another request; later there may be."""


class Gate:
    """Lets in so much and no more.

    Args:
        requests: that are worked on or wait; one more is sent away.
        room: bytes that bodies may take together; one more waits, unread.
        ready: pictures that are read before the model has taken them; one more waits.
    """

    def __init__(self, requests: int, room: int, ready: int):
        self.requests, self.room = requests, room
        self._inside, self._taken = 0, 0
        self._lock, self._freed = Lock(), Condition()
        self._ready = BoundedSemaphore(ready)

    def enter(self) -> None:
        """Counts a request in; `leave` counts it out.

        Raises:
            BusyError: there are as many as may be.
        """
        with self._lock:
            if self._inside >= self.requests:
                raise BusyError(f"{self.requests} requests are being answered; try again in a few seconds")
            self._inside += 1

    def leave(self) -> None:
        """Counts a request out."""
        with self._lock:
            self._inside -= 1

    @contextmanager
    def body(self, size: int) -> Iterator[None]:
        """Inside, there is room for a body of so many bytes.

        Raises:
            BusyError: others have taken it for too long.
        """
        bytes_ = min(_COPIES * size, self.room)  # the largest that is allowed gets all of it
        with self._freed:
            if not self._freed.wait_for(lambda: self._taken + bytes_ <= self.room, _PATIENCE):
                raise BusyError("too much is being sent at once; try again in a few seconds")
            self._taken += bytes_
        try:
            yield
        finally:
            with self._freed:
                self._taken -= bytes_
                self._freed.notify_all()

    def ready(self) -> None:
        """Takes the place of a picture that is made ready; `taken` gives it back.

        Raises:
            BusyError: others have taken them all for too long.
        """
        if not self._ready.acquire(timeout=_PATIENCE):
            raise BusyError("the model is behind with its answers; try again in a few seconds")

    def taken(self) -> None:
        """The model has taken a picture, or nobody wants it any more."""
        self._ready.release()
