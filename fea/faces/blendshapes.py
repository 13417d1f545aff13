"""Blendshapes: how far each of 52 movements of a face has gone, from 0 to 1, as MediaPipe's face landmarker measures them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDED = """
browDown browOuterUp cheekSquint eyeBlink eyeLookDown eyeLookIn eyeLookOut eyeLookUp eyeSquint eyeWide mouthDimple mouthFrown
mouthLowerDown mouthPress mouthSmile mouthStretch mouthUpperUp noseSneer
"""
_SINGLE = """
_neutral browInnerUp cheekPuff jawForward jawLeft jawOpen jawRight mouthClose mouthFunnel mouthLeft mouthPucker mouthRight
mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper
"""
# The order of MediaPipe, which is that of the letters; the two sides are those of the person.
NAMES: tuple[str, ...] = tuple(
    sorted([*_SINGLE.split(), *(f"{name}{side}" for name in _SIDED.split() for side in ("Left", "Right"))])
)
DIGITS = 4  # that are kept of a value: measured anew or read from a file, it leads to the same labels

Shapes = NDArray[np.float64]  # (faces, 52), in the order of NAMES


class Measurer(Protocol):
    """Who measures blendshapes."""

    def measure(self, image: Image.Image) -> Shapes:
        """The blendshapes of all faces in an RGB image."""

    def close(self) -> None:
        """Ends what measures; it is not called again."""


class Reads(Protocol):
    """Who makes Action Units of blendshapes.

    Attributes:
        units: codes of all units that it looks for; of others it knows nothing.
        meta: what a line says of it, "source" first.
    """

    units: tuple[str, ...]
    meta: Mapping[str, Any]

    def shown(self, face: Shapes) -> tuple[str, ...]:
        """Codes of the units that show in a face of which the blendshapes, (52,), are given."""


def movement(shapes: Shapes, name: str) -> Shapes:
    """One movement of faces, (faces,): a blendshape, or the mean of its two sides.

    Args:
        shapes: (faces, 52).
        name: "jawOpen", or "mouthSmile" for both sides of the mouth.
    """
    columns = [NAMES.index(found) for found in (name, f"{name}Left", f"{name}Right") if found in NAMES]
    mean: Shapes = shapes[:, columns].mean(axis=1)
    return mean
