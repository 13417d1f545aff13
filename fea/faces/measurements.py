"""What was measured on images, kept in a file, so that a run that was stopped and the next one measure nothing twice.

    {"blendshapes": ["_neutral", "browDownLeft", ...]}          the names, once
    {"image": "1.jpg", "sha256": "...", "faces": [[0.0, ...]]}  then an image a line, known by its content: 52 numbers a face

So labels can be made again by other rules, or where neither MediaPipe nor its model is, from the file alone.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fea.errors import FEAError
from fea.faces.blendshapes import NAMES, Measurer, Shapes
from fea.images.opening import AT_A_TIME, image_bytes, read_image
from fea.system.lines import append

# Pixels of an image that are looked at, of a JPEG that has far more: MediaPipe itself looks for faces at 192 x 192 pixels.
_ENOUGH = 1024**2


class _Opened(NamedTuple):
    """An image file: its content by which it is known, and its picture, which is None if it was measured before."""

    key: bytes
    picture: Image.Image | None


class Measurements:
    """Measures images, and remembers.

    Args:
        file: where measurements are kept; it need not be there yet. None keeps them nowhere.
        measurer: measures what is not in the file; None for nobody.
        write: whether the file is added to.

    Attributes:
        fresh: how many images were measured now.

    Raises:
        FEAError: the file is another one.
    """

    def __init__(self, file: Path | None, measurer: Measurer | None, write: bool = True):
        self.file, self.measurer, self.write = file, measurer, write and file is not None
        self.known: dict[bytes, Shapes] = {}
        self.fresh = 0
        self._end = 0  # bytes of the file that are whole lines
        if file is not None and file.exists():
            self._read(file)

    def of(self, images: Sequence[str | bytes]) -> list[Shapes | FEAError]:
        """The blendshapes of all faces in each image, or why it cannot be read.

        Args:
            images: their paths, or their contents.

        Raises:
            FEAError: one of them is not in the file, and nobody is there to measure it.
        """
        with ThreadPoolExecutor(AT_A_TIME) as pool:  # Pillow decodes outside of Python's lock
            opened = list(pool.map(self._opened, images))
        told: list[dict[str, object]] = []
        for image, one in zip(images, opened, strict=True):
            if isinstance(one, _Opened) and one.picture is not None and one.key not in self.known:
                self.known[one.key] = faces = self._measure(one.picture, image)
                self.fresh += 1
                name = "" if isinstance(image, bytes) else image.rpartition("/")[2]
                told.append({"image": name, "sha256": one.key.hex(), "faces": faces.tolist()})
        if self.write and told:
            self._append(told)
        return [self.known[one.key] if isinstance(one, _Opened) else one for one in opened]

    def close(self) -> None:
        """Ends what measures."""
        if self.measurer is not None:
            self.measurer.close()

    def _opened(self, image: str | bytes) -> _Opened | FEAError:
        try:
            content = image if isinstance(image, bytes) else image_bytes(image)
            key = hashlib.sha256(content).digest()
            name = "the image" if isinstance(image, bytes) else f"image '{image}'"
            known = key in self.known
            return _Opened(key, None if known else read_image(io.BytesIO(content), name, enough=_ENOUGH))
        except FEAError as error:
            return error

    def _measure(self, picture: Image.Image, image: str | bytes) -> Shapes:
        if self.measurer is None:
            name = "an image of a table" if isinstance(image, bytes) else f"'{image}'"
            raise FEAError(f"{name} is not in '{self.file}'; name the model that measures it with --face-model")
        return self.measurer.measure(picture)

    def _append(self, told: list[dict[str, object]]) -> None:
        if self.file is None:
            return
        head = [] if self._end else [{"blendshapes": NAMES}]
        append(self.file, [*head, *told], self._end if self.file.exists() else None)
        self._end = self.file.stat().st_size

    def _read(self, file: Path) -> None:
        lines = file.read_bytes().split(b"\n")[:-1]  # a last line that was being written is measured again
        for number, line in enumerate(lines, 1):
            try:
                found = json.loads(line)
                if number == 1:
                    if tuple(found["blendshapes"]) != NAMES:
                        raise ValueError
                    continue
                faces = np.array(found["faces"], np.float64).reshape(-1, len(NAMES))
                self.known[bytes.fromhex(found["sha256"])] = faces
            except (ValueError, KeyError, TypeError):
                raise FEAError(
                    f"{file}:{number}: no measurement of blendshapes; name another file with --measured"
                ) from None
        self._end = sum(len(line) + 1 for line in lines)
