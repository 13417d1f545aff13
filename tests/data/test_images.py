"""Image files become upright RGB, or one sentence with the place that names them."""

from __future__ import annotations

import io
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fea.data.example import Example
from fea.data.images import load_image
from fea.errors import FEAError

UPRIGHT = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
# How a camera stores an upright picture under each EXIF orientation (tag 274).
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_comes_out_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = str(tmp_path / "a.png")
    Image.fromarray(np.ascontiguousarray(STORED[orientation])).save(path, exif=exif)
    assert np.array_equal(load_image(path, "f:1"), UPRIGHT)
    assert np.array_equal(load_image(path, "f:1", flipped=True), UPRIGHT[:, ::-1])


RED = Image.new("RGB", (2, 2), (255, 0, 0))
CLEAR = Image.new("RGBA", (2, 2), (255, 0, 0, 51))  # one fifth red on white


@pytest.mark.parametrize(
    ("image", "kind", "pixel"),
    [
        (RED, "png", (255, 0, 0)),
        (RED.convert("P"), "gif", (255, 0, 0)),
        (RED.convert("CMYK"), "tiff", (255, 0, 0)),
        (CLEAR, "png", (255, 204, 204)),
        (Image.new("LA", (2, 2), (0, 51)), "png", (204, 204, 204)),
        (Image.new("L", (2, 2), 100), "png", (100, 100, 100)),
        (Image.new("1", (2, 2), 1), "png", (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 40_070, np.uint16)), "png", (156, 156, 156)),  # 40070 / 256
        (Image.new("I;16B", (2, 2), 40_070), "tiff", (156, 156, 156)),
    ],
)
def test_every_kind_of_picture_becomes_rgb(
    tmp_path: Path, image: Image.Image, kind: str, pixel: tuple[int, int, int]
) -> None:
    path = tmp_path / f"a.{kind}"
    image.save(path)
    loaded = load_image(str(path), "f:1")
    assert (loaded.mode, loaded.getpixel((1, 1))) == ("RGB", pixel)


def test_transparent_colour_of_a_palette_becomes_white(tmp_path: Path) -> None:
    image = RED.convert("P")
    image.save(tmp_path / "a.png", transparency=image.getpixel((0, 0)))
    assert load_image(str(tmp_path / "a.png"), "f:1").getpixel((0, 0)) == (255, 255, 255)


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    RED.save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", (2, 2), (0, 0, 255))])
    assert load_image(str(tmp_path / "a.gif"), "f:1").getpixel((0, 0)) == (255, 0, 0)


def _bytes(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; check 'image_root'"),
        (b"", "cannot be read"),
        (b"no image", "cannot be read"),
        (_bytes("png")[:200], "cannot be read"),
        (_bytes("jpeg")[:-100], "cannot be read"),
    ],
)
def test_missing_truncated_and_foreign_files_are_named_with_their_line(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FEAError) as refusal:
        load_image(str(path), "faces.jsonl:17")
    assert str(refusal.value).startswith(f"faces.jsonl:17: image '{path}' {message}")
    assert str(refusal.value).endswith(("check 'image_root'", "replace it"))


@pytest.mark.parametrize("name", [".", "a\0b"])
def test_paths_that_are_no_file_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FEAError, match=r"^f:1: image '.* cannot be read"):
        load_image(f"{tmp_path}/{name}", "f:1")


def test_a_strip_is_no_face(tmp_path: Path) -> None:
    for width in (200, 201):
        RED.resize((width, 1)).save(tmp_path / f"{width}.png")
    assert load_image(str(tmp_path / "200.png"), "f:1").size == (200, 1)
    with pytest.raises(FEAError, match=r"f:1: image '.*' of 201 x 1 pixels is no picture of a face; crop it"):
        load_image(str(tmp_path / "201.png"), "f:1")


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "tiff", "bmp", "dds"])
def test_no_damage_gets_past_the_reader(tmp_path: Path, kind: str) -> None:
    chance, whole, path, refused = random.Random(0), _bytes(kind), tmp_path / "a", 0
    for number in range(100):
        damaged = bytearray(whole[: chance.randrange(1, len(whole))] if number % 2 else whole)
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(min(len(damaged), 200))] = chance.randrange(256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, about what it repairs
            try:
                assert load_image(str(path), "f:1").mode == "RGB"
            except FEAError:
                refused += 1
    assert refused > 20


def _example(**known: object) -> Example:
    unknown = Example("1", "", "a.png", "f:1", "", None, frozenset(), (), (), None, {}, None, None, "{}")
    return unknown._replace(**known)  # type: ignore[arg-type]


def test_a_mirrored_face_swaps_sided_units_in_all_fields() -> None:
    face = _example(
        aus=frozenset({"AUL12", "AU6", "AU51"}),
        coded=frozenset({6, 12, 51, 61}),
        intensities={"AUL12": 2, "AU6": 3},
        analysis="All units are bright: AU6.",
    )
    mirrored = face.mirror()
    assert mirrored.aus == {"AUR12", "AU6", "AU52"}
    assert mirrored.coded == {6, 12, 52, 62}
    assert mirrored.intensities == {"AUR12": 2, "AU6": 3}
    assert mirrored.flipped
    assert mirrored.mirror() == face
    assert _example().mirror().aus is None


@pytest.mark.parametrize(
    "words", ["The left brow is up.", "RIGHT", "AUL12", "AU R12", "AU12R", "L12A", "AU52", "AU 61 shows"]
)
@pytest.mark.parametrize("key", ["analysis", "question"])
def test_words_about_sides_keep_a_face_from_being_mirrored(key: str, words: str) -> None:
    face = _example(**{key: words})
    assert face.mirror() is face
