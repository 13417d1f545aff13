"""Where faces are, by Haar cascades on drawn people; and what is said where a detector cannot be had."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fea.drawn.drawing import draw_face
from fea.drawn.people import sample_look
from fea.errors import FEAError
from fea.faces import detectors
from fea.faces.crops import Crop, cropped, square
from fea.faces.detectors import Face, MediaPipe, YuNet, detector
from fea.faces.landmarker import Landmarker


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    """Two drawn people, the larger one on the right."""
    room = Image.new("RGB", (640, 400), (200, 205, 208))
    for number, size, place in ((9, 160, (30, 200)), (1, 240, (350, 80))):
        room.paste(draw_face({}, sample_look(np.random.default_rng(number)), size), place)
    return room


def _centers(faces: list[Face]) -> list[tuple[int, int]]:
    return [(x + width // 2, y + height // 2) for x, y, width, height in (face.box for face in faces)]


def test_faces_are_found_the_largest_first(photograph: Image.Image) -> None:
    faces = detector().find(photograph)
    assert np.allclose(_centers(faces), [(470, 200), (110, 280)], atol=20)
    assert all(face.score is None for face in faces)
    assert detector().find(Image.new("RGB", (300, 200), (90, 120, 150))) == []


def test_boxes_are_those_of_the_whole_picture(photograph: Image.Image) -> None:
    """A large photograph is reduced before it is looked at."""
    large = photograph.resize((2560, 1600))
    assert np.allclose(_centers(detector().find(large))[0], (1880, 800), atol=80)


def test_of_two_boxes_over_the_same_the_surer_one_stays() -> None:
    class Cascade:
        def detectMultiScale3(self, *_: Any, **__: Any) -> Any:
            return np.array([[0, 0, 100, 100], [30, 30, 80, 80], [200, 0, 50, 50]]), None, np.array([2.0, 3.0, 1.0])

    kept = detectors._hits(Cascade(), np.zeros((9, 9), np.uint8), 1)
    assert kept == [(30, 30, 80, 80), (200, 0, 50, 50)]


def test_equal_areas_are_ordered_from_left_to_right() -> None:
    image = Image.new("RGB", (100, 100))
    found = [((60, 0, 10, 10), 0.5), ((5, 0, 10, 10), 1.2), ((90, 90, 30, 20), None)]
    assert detectors._sorted(image, found, 1.0) == [
        Face((5, 0, 10, 10), 1.0), Face((60, 0, 10, 10), 0.5), Face((90, 90, 10, 10))
    ]  # fmt: skip


def test_a_crop_is_a_square_with_the_edge_repeated() -> None:
    assert square((100, 100, 100, 60)) == (85, 65, 130, 130)
    pixels = np.arange(60 * 40 * 3, dtype=np.uint32).reshape(40, 60, 3).astype(np.uint8)
    crop = np.asarray(cropped(Image.fromarray(pixels), (0, 0, 20, 10)))
    left, top, side, _ = square((0, 0, 20, 10))
    assert crop.shape == (side, side, 3) == (26, 26, 3)
    assert (crop[-top:, -left:] == pixels[: side + top, : side + left]).all()
    assert (crop[:-top] == crop[-top]).all()
    assert (crop[:, :-left] == crop[:, [-left]]).all()
    inside = np.asarray(cropped(Image.fromarray(pixels), (20, 15, 10, 10)))
    assert (inside == pixels[14:27, 18:31]).all()


def test_in_training_the_largest_face_is_shown_or_all_of_the_picture(photograph: Image.Image) -> None:
    shown = Crop()(photograph)
    (face, _) = detector().find(photograph)
    assert shown.tobytes() == cropped(photograph, face.box).tobytes()
    empty = Image.new("RGB", (300, 200))
    assert Crop()(empty) is empty


def test_yunet_and_its_file_are_handed_what_they_need(photograph: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network itself is not here: its boxes, which may reach beyond the picture, are those of one that plays its part."""
    seen: list[Any] = []

    class Net:
        def setInputSize(self, size: tuple[int, int]) -> None:
            seen.append(size)

        def detect(self, pixels: Any) -> Any:
            seen.append(pixels)
            return 1, np.array([[-5.0, 10, 50, 60, *[0] * 10, 0.91], [300, 20, 80.4, 90, *[0] * 10, 0.88]])

    monkeypatch.setattr(detectors, "_yunet", lambda _: Net())
    assert YuNet("x").find(photograph) == [Face((300, 20, 80, 90), 0.88), Face((0, 10, 45, 60), 0.91)]
    assert seen[0] == photograph.size
    assert (seen[1] == np.asarray(photograph)[:, :, ::-1]).all()
    monkeypatch.setattr(Net, "detect", lambda *_: (0, None))
    assert YuNet("x").find(photograph) == []


def test_a_box_of_mediapipe_is_what_its_landmarks_span(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [SimpleNamespace(x=x, y=y) for x, y in ((0.25, 0.5), (0.5, 0.25), (0.75, 0.9))]
    landmarker = Landmarker.__new__(Landmarker)
    monkeypatch.setattr(landmarker, "_found", lambda _: SimpleNamespace(face_landmarks=[points]), raising=False)
    monkeypatch.setattr(detectors, "_landmarker", lambda _: landmarker)
    assert MediaPipe("x").find(Image.new("RGB", (200, 100))) == [Face((50, 25, 100, 65))]


def test_a_model_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.bin"
    with pytest.raises(FEAError, match=r"model.bin' does not exist; name the file of the model with --face-model"):
        detector(str(file))
    file.write_bytes(b"a model")
    with pytest.raises(
        FEAError, match=r"\(SHA-256 \w{12}...\) is no model that is known here; give face_detection_yunet"
    ):
        detector(str(file))
    monkeypatch.setattr(detectors, "YUNET", "b6e7b7f8a1a0a8cb1a1b0e8a2be6a6a7")
    import hashlib

    for name, kind in (("YUNET", "yunet"), ("LANDMARKER", "mediapipe")):
        with monkeypatch.context() as patch:
            patch.setattr(detectors, name, hashlib.sha256(b"a model").hexdigest())
            assert detector(str(file)).name == kind


def test_a_missing_library_is_one_sentence_with_its_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    detectors._cascades.cache_clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(FEAError, match=r"OpenCV, which is not there: pip install 'fea\[face\]' .*headless>=4.8,<5"):
        detector()
    five: Any = ModuleType("cv2")
    five.__version__, five.setNumThreads = "5.1.0", lambda _: None
    monkeypatch.setitem(sys.modules, "cv2", five)
    with pytest.raises(FEAError, match=r"this OpenCV 5.1.0 has no Haar cascades: pip install .*headless>=4.8,<5"):
        detector()
    detectors._cascades.cache_clear()
