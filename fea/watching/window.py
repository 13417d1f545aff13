"""A window that shows each frame with what was said of the faces in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from fea.analysis.tables import Result
from fea.errors import FEAError
from fea.pictures.fonts import font, runs, width
from fea.pictures.layout import Span, wrapped
from fea.watching.sources import opencv

_COLORS = ("#1f5fa8", "#a8501a", "#4f6320", "#b02a4c", "#6741a5", "#0b7285")  # of faces, by their numbers; on white
_SIZE, _LINE = 15, 18  # pixels of the letters, and from line to line
_NARROWEST = 80  # pixels of a line: two units
_ENDS = (ord("q"), 27)  # and Escape
_LONGEST = 1280  # pixels of the longer side that are shown: a film may have more than a screen
_OTHER = "pip uninstall opencv-python-headless, then pip install 'opencv-python>=4.8,<5'"


def check_window() -> None:
    """Finds out whether a window can be shown.

    Raises:
        FEAError: there is no screen, or an OpenCV without windows.
    """
    cv2 = opencv("windows are shown")
    shown = next((line.split()[-1] for line in cv2.getBuildInformation().splitlines() if " GUI:" in line), "NONE")
    if shown == "NONE":
        raise FEAError(f"show: this OpenCV shows no windows ({_OTHER}); or leave --show out")
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise FEAError("show: there is no screen (DISPLAY is not set); leave --show out")


class Window:
    """A window; `opened` makes one.

    Attributes:
        title: above it.
    """

    def __init__(self, title: str, cv2: Any):
        self.title, self._cv2 = title, cv2

    def show(self, image: Image.Image, results: Sequence[Result]) -> bool:
        """Shows a frame; whether the window is still wanted: it was not closed, and neither q nor Escape was pressed.

        Args:
            image: the frame, RGB.
            results: of the faces in it.
        """
        pixels = np.asarray(marked(image, results))[:, :, ::-1]  # blue, green, red
        self._cv2.imshow(self.title, np.ascontiguousarray(pixels))
        pressed = self._cv2.waitKey(1) & 0xFF
        return pressed not in _ENDS and self._cv2.getWindowProperty(self.title, self._cv2.WND_PROP_VISIBLE) >= 1


@contextmanager
def opened(title: str) -> Iterator[Window]:
    """A window that is closed in the end; `check_window` has found that there can be one."""
    cv2 = opencv("windows are shown")
    cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)  # without a row of buttons
    try:
        yield Window(title, cv2)
    finally:
        cv2.destroyAllWindows()


def marked(image: Image.Image, results: Sequence[Result]) -> Image.Image:
    """A frame, or a smaller one, with the box of each face, its number, emotion and units.

    Args:
        image: the frame, RGB.
        results: of the faces in it.
    """
    shrink = min(1.0, _LONGEST / max(image.size))
    image = image.resize((max(1, round(image.width * shrink)), max(1, round(image.height * shrink))))
    pen = ImageDraw.Draw(image)
    for result in results:
        color = _COLORS[result.face_id % len(_COLORS)]
        left, top, across, down = (round(side * shrink) for side in result.box or (0, 0, *image.size))
        if result.box:
            pen.rectangle((left, top, left + across, top + down), outline=color, width=3)
        lines = [result.error] if result.error else _lines(result, across)
        y = top + down if top + down + _LINE * len(lines) <= image.height else max(0, top)  # below, or within
        for line in lines:
            _write(pen, max(0, min(left, image.width - width(line, _SIZE))), y, line, color)
            y += _LINE
    return image


def _lines(result: Result, across: int) -> list[str]:
    """Number, emotion and its share, and units below, in lines of about the width of the face: beside it may be another."""
    share = (result.emotion_votes or {}).get(result.emotion)
    head = f"{result.face_id} {result.emotion or '?'}" + (f" {share:.0%}" if share is not None else "")
    units = wrapped([Span(" ".join(result.aus), "")], _SIZE, max(across, _NARROWEST))
    return [head, *("".join(part.span.content for part in line) for line in units if line)]


def _write(pen: ImageDraw.ImageDraw, x: float, y: float, text: str, color: str) -> None:
    """A line of text on white, in fonts that have its letters."""
    for run in runs(text):
        letters = font(run.file, _SIZE)
        pen.rectangle((x, y, x + letters.getlength(run.text), y + _LINE - 1), fill="white")
        pen.text((x, y + _LINE / 2), run.text, color, font=letters, anchor="lm")
        x += letters.getlength(run.text)
