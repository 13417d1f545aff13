"""Pictures of answers, written as they come: each shows the face that was looked at beside what was said of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from fea.analysis.analyzer import Part
from fea.analysis.asking import Asking
from fea.analysis.films import Frame, frames
from fea.analysis.inputs import Input
from fea.analysis.tables import Result
from fea.errors import FEAError
from fea.faces.crops import cropped
from fea.images.opening import load_image
from fea.pictures.composing import Told
from fea.pictures.saved import Pictures

_ENOUGH = 2 * 600 * 600  # pixels of an image that a picture shows in 600 x 600
_TOLD = 12  # characters that a note names


class Album:
    """The pictures of a run.

    Args:
        folder: where; `pictures.saved.check_folder` has passed it.
        inputs: all that is asked about.
        asking: how.
    """

    def __init__(self, folder: Path, inputs: Sequence[Input], asking: Asking):
        self.pictures = Pictures(folder, [one.name for one in inputs])
        self.asking = asking
        self._held = {one.name: one.picture for one in inputs if one.picture is not None}
        self._last: tuple[str, Image.Image] | None = None  # faces of an image come one after the other
        self._film: tuple[str, Iterator[Frame], Frame | None] | None = None

    def passing(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The same answers, each with its pictures on the disk before it is passed on."""
        for part in parts:
            for result in part.results:
                self._add(result)
            yield part
        if self.pictures.lacking:
            found = "".join(sorted(self.pictures.lacking)[:_TOLD])
            print(
                f"note: no font of this machine has {found!r}; the .png show boxes there, the .svg what their reader has",
                file=sys.stderr,
            )

    def _add(self, result: Result) -> None:
        if result.error:
            return
        try:
            image = self._image(result)
        except FEAError as error:  # it was there when the model looked at it
            print(f"note: no picture of '{result.image}': {error}", file=sys.stderr)
            return
        frame = f"frame{result.frame}" if result.frame is not None else ""
        face = f"face{result.face_id}" if result.box and self.asking.faces == "all" else ""
        part = "-".join(filter(None, (frame, face)))
        self.pictures.save(result.image, part, told_of(result, image, part))

    def _image(self, result: Result) -> Image.Image:
        """The image that a result is about, whole."""
        if result.frame is not None:
            return self._frame(result.image, result.frame)
        if result.image in self._held:
            return self._held[result.image]
        if self._last is None or self._last[0] != result.image:
            enough = None if result.box else _ENOUGH
            image = load_image(result.image, result.image, False, self.asking.max_image_pixels, enough)
            self._last = (result.image, image)
        return self._last[1]

    def _frame(self, film: str, number: int) -> Image.Image:
        """A frame of a film; they are asked for in order."""
        name, coming, last = self._film or ("", iter(()), None)
        if name != film or last is None or last.number > number:
            coming, last = frames(film, self.asking.every, number // self.asking.every), None
        while last is None or last.number < number:
            last = next(coming, None)
            if last is None:
                raise FEAError(f"frame {number} is not there any more")
        self._film = (film, coming, last)
        return last.picture


def told_of(result: Result, image: Image.Image, part: str = "") -> Told:
    """What a picture tells of a result.

    Args:
        result: of a face.
        image: that it is about, whole.
        part: of the image, in words.
    """
    return Told(
        title=" · ".join(filter(None, (Path(result.image).name, part.replace("-", " · ")))),
        face=cropped(image, result.box) if result.box else image,
        aus=result.aus,
        emotion=result.emotion,
        reasoning=result.reasoning or result.text.strip(),  # one without its tags is worth reading, too
        votes=result.votes or {},
        emotion_votes=result.emotion_votes or {},
        numbers=", ".join(f"{name} {value:g}" for name, value in result.affect.items()),
        note="" if result.valid else "the answer is not well-formed",
    )
