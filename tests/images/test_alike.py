"""Images that were made from others: saved again, rescaled, mirrored, cut at their edges."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from fea.drawn.faces import write_faces
from fea.images.alike import Alike, alike, thumbnail

Made = Callable[[Image.Image], Image.Image]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[Image.Image]:
    folder = tmp_path_factory.mktemp("alike")
    write_faces(folder, 150, seed=21)
    return [Image.open(file).convert("RGB") for file in sorted((folder / "images").iterdir())]


def found(first: list[Image.Image], second: list[Image.Image]) -> list[Alike]:
    thumbnails = [np.stack([thumbnail(image) for image in images]) for images in (first, second)]
    return list(alike(*thumbnails, lambda number, of_first: (first if of_first else second)[number]))


def saved(image: Image.Image, quality: int = 60) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def gray(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def cut(left: float, top: float, right: float, bottom: float) -> Made:
    return lambda i: i.crop(
        (int(i.width * left), int(i.height * top), int(i.width * (1 - right)), int(i.height * (1 - bottom)))
    )


@pytest.mark.parametrize(
    ("made", "mirrored", "least"),
    [
        (lambda i: i, False, 10),
        (saved, False, 10),
        (lambda i: i.resize((60, 60)), False, 10),
        (lambda i: i.resize((300, 300)), False, 10),
        (lambda i: ImageEnhance.Brightness(i).enhance(1.04), False, 9),
        (ImageOps.mirror, True, 10),
        (gray, False, 10),
        (lambda i: saved(gray(i), 75), False, 10),
        (lambda i: ImageOps.mirror(cut(0.05, 0.0, 0.03, 0.04)(gray(i))), True, 9),
        (cut(0.05, 0.05, 0.05, 0.05), False, 9),
        (cut(0.0, 0.08, 0.03, 0.0), False, 9),
        (lambda i: saved(ImageOps.mirror(cut(0.02, 0.0, 0.06, 0.04)(i)).resize((112, 112)), 75), True, 9),
    ],
    ids=[
        "same",
        "jpeg",
        "small",
        "large",
        "brighter",
        "mirror",
        "gray",
        "gray jpeg",
        "gray, cut",
        "cut",
        "cut aside",
        "all",
    ],
)
def test_what_was_made_from_an_image_is_found(made: Made, mirrored: bool, least: int, faces: list[Image.Image]) -> None:
    copies = [made(face) for face in faces[40:50]]
    there = found(faces, copies)
    assert all(one.first == one.second + 40 and one.mirrored is mirrored for one in there)
    assert len(there) >= least
    back = found(copies, faces[35:55])
    assert all(one.first + 5 == one.second and one.mirrored is mirrored for one in back)
    assert len(back) >= least


def test_other_faces_are_not_alike(faces: list[Image.Image]) -> None:
    assert found(faces[:75], faces[75:]) == []


def test_other_faces_are_not_alike_without_their_colors(faces: list[Image.Image]) -> None:
    shown = [gray(face) for face in faces[75:]]
    assert found(faces[:75], shown) == []
    assert found(shown, faces[:75]) == []


def test_a_plain_image_is_like_nothing(faces: list[Image.Image]) -> None:
    plain = [Image.new("RGB", (112, 112), "red"), Image.new("RGB", (112, 112), "black")]
    assert found(plain, faces[:5]) == []
    assert found(faces[:5], plain) == []
    assert found(plain, plain) == []


def test_an_image_that_cannot_be_read_is_like_nothing(faces: list[Image.Image]) -> None:
    some = np.stack([thumbnail(face) for face in faces[:3]])
    assert [one.first for one in alike(some, some, lambda number, _: faces[number])] == [0, 1, 2]
    assert list(alike(some, some, lambda number, _: None if number == 1 else faces[number]))[1].first == 2
    assert list(alike(some[:0], some, lambda *_: None)) == []
