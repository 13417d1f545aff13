"""Frames of a film, by PyAV (`pip install 'fea[video]'`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from PIL import Image

from fea.errors import FEAError
from fea.images.opening import upright

_ROUNDED = 1e-4  # of a part of a second: times are rounded to millionths of a second, and 0.2 * 5 is not always 1


class Frame(NamedTuple):
    """A frame of a film.

    Attributes:
        number: from 0.
        time: in seconds from the start of the film.
        picture: upright and RGB.
    """

    number: int
    time: float
    picture: Image.Image


def check_films() -> None:
    """Finds out whether films can be read.

    Raises:
        FEAError: PyAV is missing.
    """
    _av()


def frames(file: str, every: int, start: int = 0) -> Iterator[Frame]:
    """Every n-th frame of the first picture track of a film.

    Args:
        file: the film.
        every: 1 for all frames.
        start: of these, the first that is wanted.

    Raises:
        FEAError: the file is missing or no film, or is damaged from some frame on.
    """
    with _opened(file) as container:
        for number, time, frame in _decoded(container):
            if number % every == 0 and number >= start * every:
                yield Frame(number, time, upright(_turned(frame), f"film '{file}'"))


class Pace:
    """Of frames that come one after the other, at most so many a second: of each part of a second the first.

    >>> pace = Pace(2)
    >>> [time for time in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 3.0) if pace.takes(time)]
    [0.0, 0.6, 1.0, 3.0]

    Args:
        rate: frames a second.
    """

    def __init__(self, rate: float):
        self.rate, self._part = rate, -1

    def takes(self, time: float) -> bool:
        """Whether the frame of this time, in seconds from the first one, is to be taken."""
        part = int(time * self.rate + _ROUNDED)
        found = part > self._part
        self._part = max(part, self._part)
        return found


def paced_frames(file: str, rate: float) -> Iterator[Frame]:
    """So many frames of a film a second of it; all of them, if it has no more.

    Args:
        file: the film.
        rate: frames a second.

    Raises:
        FEAError: the file is missing or no film, or is damaged from some frame on.
    """
    pace = Pace(rate)
    with _opened(file) as container:
        for number, time, frame in _decoded(container):
            if pace.takes(time):
                yield Frame(number, time, upright(_turned(frame), f"film '{file}'"))


def seconds_of(file: str) -> float:
    """How long a film is, by what it says of itself; 0 if it says nothing.

    Raises:
        FEAError: the file is missing or no film.
    """
    with _opened(file) as container:
        return _length(container)


def count_frames(file: str, every: int) -> int:
    """About how many of them there are, by what the file says of itself; 0 if it says nothing or cannot be read."""
    try:
        with _opened(file) as container:
            track = container.streams.video[0]
            count = track.frames or round(_length(container) * float(track.average_rate or 0))
            return -(-int(count) // every)
    except FEAError:
        return 0


def _length(container: Any) -> float:
    track = container.streams.video[0]
    return float(track.duration * track.time_base) if track.duration else (container.duration or 0) / 1e6


def _decoded(container: Any) -> Iterator[tuple[int, float, Any]]:
    """Frames of the first picture track with their numbers, and their times from the first one on."""
    track, first = container.streams.video[0], None
    track.thread_type = "AUTO"
    for number, frame in enumerate(container.decode(track)):
        seconds = frame.time if frame.time is not None else number / float(track.average_rate or 25)
        first = seconds if first is None else first
        yield number, round(seconds - first, 6), frame


@contextmanager
def _opened(file: str) -> Iterator[Any]:
    av = _av()
    try:
        with av.open(file) as container:
            if not container.streams.video:
                raise FEAError(f"film '{file}' holds no pictures; give another")
            yield container
    except FileNotFoundError:
        raise FEAError(f"film '{file}' does not exist; check the path") from None
    except av.error.FFmpegError as error:
        raise FEAError(f"film '{file}' cannot be read ({error.strerror}); replace it") from error


def _turned(frame: Any) -> Image.Image:
    """The picture of a frame, turned as the film says: phones store films lying on their side."""
    picture: Image.Image = frame.to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise FEAError("films are read by PyAV, which is not there: pip install 'fea[video]'") from None
    return av
