"""Where frames come from: a film, of which none is left out, or a camera, which does not wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from itertools import islice, takewhile
from math import ceil
from pathlib import Path
from threading import Condition, Thread
from typing import Any, Protocol

from PIL import Image

from fea.analysis.films import Frame, Pace, check_films, count_frames, paced_frames, seconds_of
from fea.errors import FEAError

_WAKES = 0.2  # seconds between two looks at what else happened while a frame is waited for: Ctrl-C, on some systems
_LAST = 2.0  # seconds in which a camera gives the frame that it is at; one that hangs is left behind


class Source(Protocol):
    """What frames come from."""

    @property
    def name(self) -> str:
        """Of the file, or the camera."""

    @property
    def count(self) -> int:
        """About how many frames there will be; 0 if nobody knows."""

    @property
    def remark(self) -> str:
        """What is to be known of the frames so far; "" for nothing."""

    def batches(self, size: int) -> Generator[list[Frame]]:
        """Frames in their order, each batch when it is asked for.

        Args:
            size: frames at a time, if they need not be waited for.

        Raises:
            FEAError: there are no more, though there should be.
        """


def source_of(named: str, rate: float, seconds: float | None) -> Source:
    """A camera for a number, a film for anything else.

    Args:
        named: number of a camera, or a file.
        rate: frames a second.
        seconds: after which it ends; None: with the film, or never.

    Raises:
        FEAError: there is no such thing, it holds no pictures, or a package is missing.
    """
    return Camera(int(named), rate, seconds) if named.isdecimal() else Film(named, rate, seconds)


class Film:
    """A film, in its own time.

    Args:
        file: the film.
        rate: frames a second.
        seconds: of the film; None for all of it.

    Raises:
        FEAError: there is no such film, or it holds no pictures.
    """

    remark = ""

    def __init__(self, file: str, rate: float, seconds: float | None):
        check_films()
        if not Path(file).is_file():  # an address would be fetched
            raise FEAError(f"film '{file}' does not exist; name a film, or a camera by its number")
        if next(paced_frames(file, rate), None) is None:
            raise FEAError(f"film '{file}' holds no pictures; give another")
        self.name, self.rate, self.seconds = file, rate, seconds

    @property
    def count(self) -> int:
        """As in `Source`."""
        length, frames = seconds_of(self.name), count_frames(self.name, 1)
        shown = length if self.seconds is None else min(length, self.seconds)
        return min(frames, ceil(shown * self.rate))

    def batches(self, size: int) -> Generator[list[Frame]]:
        """As in `Source`."""
        frames = paced_frames(self.name, self.rate)
        wanted = takewhile(lambda frame: self.seconds is None or frame.time < self.seconds, frames)
        broken: FEAError | None = None
        while broken is None:
            some: list[Frame] = []
            try:
                for frame in islice(wanted, size):
                    some.append(frame)
            except FEAError as error:  # what came before it is answered first
                broken = error
            if some:
                yield some
            elif broken is None:
                return
        raise broken


class Camera:
    """A camera, by OpenCV; it is taken at once, and read as soon as frames are asked for.

    A thread reads it without a pause, since its driver hands out old frames otherwise, and keeps the newest of those that are
    due. Time begins with the first frame.

    Args:
        number: of the camera, from 0.
        rate: frames a second.
        seconds: after which it ends; None for never.

    Attributes:
        due: frames that were to be asked about.
        missed: those of them that came while another one was answered, and gave way to a newer one.

    Raises:
        FEAError: there is none, it gives no picture, or OpenCV is missing.
    """

    count = 0

    def __init__(self, number: int, rate: float, seconds: float | None):
        self.name, self.rate, self.seconds = f"camera {number}", rate, seconds
        self.due = self.missed = 0
        self._capture = _opened(number)
        self._changed = Condition()
        self._newest: tuple[int, float, Any] | None = None  # number, time and pixels
        self._ended = False
        self._failure: Exception | None = None

    @property
    def remark(self) -> str:
        """As in `Source`."""
        if not self.missed:
            return ""
        return f"{self.missed} of {self.due} frames came while the model was at work, and were left out"

    def batches(self, size: int) -> Generator[list[Frame]]:
        """As in `Source`; always a single frame, the newest."""
        thread = Thread(target=self._read, name=self.name, daemon=True)
        thread.start()
        try:
            while frame := self._next():
                yield [frame]
        finally:
            self._end()
            thread.join(_LAST)
            if not thread.is_alive():
                self._capture.release()

    def _next(self) -> Frame | None:
        """The newest frame that was not asked about; waits for one. None at the end."""
        with self._changed:
            while not (self._newest or self._ended):
                self._changed.wait(_WAKES)
            if self._newest is None:
                if self._failure:
                    raise self._failure
                return None
            (number, seconds, pixels), self._newest = self._newest, None
        return Frame(number, seconds, Image.fromarray(pixels[:, :, ::-1].copy()))  # from blue, green, red

    def _read(self) -> None:
        try:
            self._take(time.monotonic)
        except Exception as error:  # whatever it is, who waits for a frame is to be told
            self._end(error)

    def _take(self, clock: Callable[[], float]) -> None:
        """Reads until the end."""
        pace, begun, number = Pace(self.rate), None, 0
        while not self._ended:
            there, pixels = self._capture.read()
            now = clock()
            begun = now if begun is None else begun
            if not there:
                raise FEAError(f"{self.name} gives no more pictures; look whether it is still plugged in")
            if self.seconds is not None and now - begun >= self.seconds:
                self._end()
            elif pace.takes(now - begun):
                self._keep((number, round(now - begun, 6), pixels))
            number += 1

    def _keep(self, newest: tuple[int, float, Any]) -> None:
        with self._changed:
            self.due += 1
            self.missed += self._newest is not None
            self._newest = newest
            self._changed.notify()

    def _end(self, failure: Exception | None = None) -> None:
        with self._changed:
            self._ended, self._failure = True, self._failure or failure
            self._changed.notify()


def opencv(purpose: str) -> Any:
    """OpenCV.

    Args:
        purpose: what it is for: "cameras are read".

    Raises:
        FEAError: it is missing.
    """
    try:
        import cv2
    except ImportError:
        raise FEAError(f"{purpose} by OpenCV, which is not there: pip install 'fea[face]'") from None
    return cv2


def _opened(number: int) -> Any:
    """A camera that has given a picture."""
    cv2 = opencv("cameras are read")
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it would tell of each way that failed
    try:
        capture = cv2.VideoCapture(number)
        if not capture.isOpened():
            raise FEAError(f"there is no camera {number}; plug it in, or give another number, from 0")
        if not capture.read()[0]:
            capture.release()
            raise FEAError(f"camera {number} gives no picture; close other programs that use it")
        return capture
    finally:
        cv2.utils.logging.setLogLevel(level)
