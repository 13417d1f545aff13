"""Where faces are in a picture, by detectors that need no network: Haar cascades, or a model file that the user has.

Haar cascades come with OpenCV 4 (`pip install 'fea[face]'`) and need no file. Of model files two are known, by their SHA-256:
YuNet (face_detection_yunet_2023mar.onnx of the OpenCV zoo), which finds more, and MediaPipe's face landmarker, which is made
for selfies. The libraries are imported when the first of them is asked for. MediaPipe brings OpenCV 5, which lies in the same
folder cv2 as OpenCV 4: what was installed last is there, and of version 5 some builds have no cascades, others have them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fea.errors import FEAError
from fea.faces.landmarker import MODEL as LANDMARKER
from fea.faces.landmarker import Landmarker

Box = tuple[int, int, int, int]  # left, top, width and height in pixels

YUNET = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
_PIN = "pip install 'opencv-python-headless>=4.8,<5'"
# Pixels of the longer side that a detector is shown: in photographs of 4000 a face that matters has hundreds, and both kinds
# take ten times as long for all of them.
_LONGEST = 1280
# The next is asked where one finds nobody: the second finds some faces that the first misses, the third those from the side.
_CASCADES = ("frontalface_default", "frontalface_alt2", "profileface")
# Of a group of five, the first finds five at a step of 1.05, and four at 1.1. With fewer than 5 neighbors folds of clothes are
# faces. Of two boxes that share half of the smaller one, the surer stays: beside two heads there is a third box over both.
_STEP, _NEIGHBORS, _SHARED = 1.05, 5, 0.5
_SMALLEST = 0.08  # of the shorter side: the smallest face that a cascade is to find
# How sure YuNet has to be, and how much two boxes may overlap: faces of photographs and drawings had 0.87 and more.
_SURE, _OVERLAP, _MOST = 0.6, 0.3, 5000
_AT_MOST = 20  # faces that MediaPipe looks for; made for selfies, it finds two of the group of five


class Face(NamedTuple):
    """A face in a picture.

    Attributes:
        box: left, top, width and height in pixels of the picture, within it.
        score: how sure the detector is, from 0 to 1; None if it does not say.
    """

    box: Box
    score: float | None = None


class Detector(Protocol):
    """What finds faces."""

    @property
    def name(self) -> str:
        """Of the kind: "haar", "yunet" or "mediapipe"."""

    def find(self, image: Image.Image) -> list[Face]:
        """The faces of an RGB picture, the largest first, of two alike the one on the left."""


def detector(model: str | None = None) -> Detector:
    """What finds faces: Haar cascades, or that of a model file. It holds no state, so that processes may be handed it.

    Args:
        model: a file; None for Haar cascades.

    Raises:
        FEAError: a library is missing, or the file is not there or not one that is known.
    """
    if model is None:
        _cascades()
        return Haar()
    file = Path(model)
    if not file.is_file():
        raise FEAError(f"face_model: '{model}' does not exist; name the file of the model with --face-model")
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found == YUNET:
        _cv2()
        return YuNet(str(file))
    if found == LANDMARKER:
        return MediaPipe(str(file))
    raise FEAError(
        f"face_model: '{model}' (SHA-256 {found[:12]}...) is no model that is known here; give "
        f"face_detection_yunet_2023mar.onnx ({YUNET[:12]}...) or face_landmarker.task ({LANDMARKER[:12]}...)"
    )


class Haar:
    """Cascades of OpenCV 4 (Viola & Jones, 2001); they do not say how sure they are."""

    name = "haar"

    def find(self, image: Image.Image) -> list[Face]:
        """As in `Detector`."""
        gray, scale = _reduced(image.convert("L"))
        least = max(1, round(_SMALLEST * min(gray.shape)))
        for number, cascade in enumerate(_cascades()):
            found = _hits(cascade, gray, least)
            if number == len(_CASCADES) - 1 and not found:  # profiles that look the other way
                width = gray.shape[1]
                found = [(width - x - w, y, w, h) for x, y, w, h in _hits(cascade, gray[:, ::-1].copy(), least)]
            if found:
                return _sorted(image, [(box, None) for box in found], scale)
        return []


class YuNet(NamedTuple):
    """YuNet (Wu et al., 2023) by OpenCV 4 or 5.

    Attributes:
        file: the model.
    """

    file: str
    name: str = "yunet"

    def find(self, image: Image.Image) -> list[Face]:
        """As in `Detector`."""
        pixels, scale = _reduced(image.convert("RGB"))
        net = _yunet(self.file)
        net.setInputSize((pixels.shape[1], pixels.shape[0]))
        _, rows = net.detect(np.ascontiguousarray(pixels[:, :, ::-1]))  # in the order blue, green, red
        found = [] if rows is None else [(tuple(map(float, row[:4])), float(row[14])) for row in rows]
        return _sorted(image, found, scale)


class MediaPipe(NamedTuple):
    """The face landmarker of MediaPipe; a box is what its landmarks span, and it does not say how sure it is.

    Attributes:
        file: the model.
    """

    file: str
    name: str = "mediapipe"

    def find(self, image: Image.Image) -> list[Face]:
        """As in `Detector`."""
        image = image.convert("RGB")
        faces = _landmarker(self.file).landmarks(image)
        size = np.array(image.size)
        found = []
        for points in faces:
            (left, top), (right, bottom) = points.min(axis=0) * size, points.max(axis=0) * size
            found.append(((float(left), float(top), float(right - left), float(bottom - top)), None))
        return _sorted(image, found, 1.0)


def _reduced(image: Image.Image) -> tuple[NDArray[np.uint8], float]:
    """The pixels that a detector is shown, and how many times larger the picture is."""
    scale = max(1.0, max(image.size) / _LONGEST)
    if scale > 1:
        image = image.resize((max(1, round(image.width / scale)), max(1, round(image.height / scale))))
    return np.asarray(image), scale


def _hits(cascade: Any, gray: NDArray[np.uint8], least: int) -> list[tuple[float, float, float, float]]:
    """Boxes, the surest first, without those that share too much with a surer one."""
    options: dict[str, Any] = {"minSize": (least, least), "outputRejectLevels": True}
    boxes, _, weights = cascade.detectMultiScale3(gray, _STEP, _NEIGHBORS, **options)
    kept: list[tuple[float, float, float, float]] = []
    for number in np.argsort(-np.asarray(weights, np.float64).ravel(), kind="stable"):
        box = tuple(map(float, boxes[number]))
        if all(_common(box, other) <= _SHARED * min(box[2] * box[3], other[2] * other[3]) for other in kept):
            kept.append(box)  # type: ignore[arg-type]  # of four numbers
    return kept


def _common(a: Sequence[float], b: Sequence[float]) -> float:
    """The area that two boxes share."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0.0, across) * max(0.0, down)


def _sorted(image: Image.Image, found: Sequence[tuple[Any, float | None]], scale: float) -> list[Face]:
    """Faces with boxes in whole pixels of the picture, by area, then from left to right."""
    faces = []
    for (x, y, w, h), score in found:
        left, top = max(0, round(x * scale)), max(0, round(y * scale))
        right, bottom = min(image.width, round((x + w) * scale)), min(image.height, round((y + h) * scale))
        if right > left and bottom > top:
            faces.append(
                Face((left, top, right - left, bottom - top), None if score is None else round(min(1.0, score), 4))
            )
    return sorted(faces, key=lambda face: (-face.box[2] * face.box[3], face.box))


def _cv2() -> Any:
    try:
        import cv2
    except ImportError:
        raise FEAError(
            f"faces are found by OpenCV, which is not there: pip install 'fea[face]' ({_PIN}), or leave faces at none"
        ) from None
    cv2.setNumThreads(1)  # pictures are read ahead by several processes, and its threads do not survive a fork
    return cv2


@cache
def _cascades() -> list[Any]:
    cv2 = _cv2()
    if not hasattr(cv2, "CascadeClassifier") or not list(Path(cv2.data.haarcascades).glob("*.xml")):
        raise FEAError(
            f"this OpenCV {cv2.__version__} has no Haar cascades: {_PIN}, last of all packages that bring a cv2 (MediaPipe "
            "brings one), or name another detector's file with --face-model"
        )
    return [cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_{name}.xml") for name in _CASCADES]


@cache
def _yunet(file: str) -> Any:
    return _cv2().FaceDetectorYN.create(
        file, "", (320, 320), _SURE, _OVERLAP, _MOST
    )  # the size is set for each picture


@cache
def _landmarker(file: str) -> Landmarker:
    return Landmarker(Path(file), _AT_MOST)
