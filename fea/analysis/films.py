"""Frames of a film, by PyAV (`pip install 'fea[video]'`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from PIL import Image

from fea.errors import FEAError
from fea.images.opening import upright


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
        track, first = container.streams.video[0], None
        track.thread_type = "AUTO"
        for number, frame in enumerate(container.decode(track)):
            seconds = frame.time if frame.time is not None else number / float(track.average_rate or 25)
            first = seconds if first is None else first
            if number % every == 0 and number >= start * every:
                picture = upright(_turned(frame), f"film '{file}'")
                yield Frame(number, round(seconds - first, 6), picture)


def count_frames(file: str, every: int) -> int:
    """About how many of them there are, by what the file says of itself; 0 if it says nothing or cannot be read."""
    try:
        with _opened(file) as container:
            track = container.streams.video[0]
            length = float(track.duration * track.time_base) if track.duration else (container.duration or 0) / 1e6
            count = track.frames or round(length * float(track.average_rate or 0))
            return -(-int(count) // every)
    except FEAError:
        return 0


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
