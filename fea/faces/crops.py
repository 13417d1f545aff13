"""The part of a picture that a model is shown of a face: a square around its box, upright as the picture is.

The square is 1.3 times as wide as the longer side of the box, which takes in forehead, chin and ears whatever detector drew the
box; where it reaches beyond the picture, the pixels at the edge are repeated. A face is never turned: a head that is tilted is
something to be seen.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from fea.faces.detectors import Box, Detector, detector

Shown = Literal["none", "largest"]  # of an image, while a model learns
Faces = Literal["none", "largest", "all"]
MARGIN = 1.3


def square(box: Box) -> Box:
    """The square around a box; it may reach beyond the picture.

    >>> square((10, 20, 100, 50))
    (-5, -20, 130, 130)
    """
    left, top, width, height = box
    side = max(1, round(MARGIN * max(width, height)))
    return round(left + (width - side) / 2), round(top + (height - side) / 2), side, side


def cropped(image: Image.Image, box: Box) -> Image.Image:
    """The square around a box of an RGB picture, with the pixels of the edge repeated beyond it."""
    left, top, side, _ = square(box)
    beyond = ((max(0, -top), max(0, top + side - image.height)), (max(0, -left), max(0, left + side - image.width)))
    inside = image.crop((max(0, left), max(0, top), min(image.width, left + side), min(image.height, top + side)))
    if not any(any(pair) for pair in beyond):
        return inside
    return Image.fromarray(np.pad(np.asarray(inside), (*beyond, (0, 0)), mode="edge"))


class Crop(NamedTuple):
    """Shows the largest face of a picture, or the picture as it is where none is found.

    Attributes:
        model: file of the detector's model; None for Haar cascades.
    """

    model: str | None = None

    def __call__(self, image: Image.Image) -> Image.Image:
        """Of an upright RGB picture."""
        faces = self.detector.find(image)
        return cropped(image, faces[0].box) if faces else image

    @property
    def detector(self) -> Detector:
        """What finds faces.

        Raises:
            FEAError: a library or the file is missing.
        """
        return detector(self.model)
