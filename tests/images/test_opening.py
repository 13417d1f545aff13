"""Image files become upright RGB, or one sentence with the place that names them."""

from __future__ import annotations

import io
import os
import random
import socket
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fea.data.example import Example
from fea.errors import FEAError
from fea.images import opening as images
from fea.images.opening import FORMATS, MOST_PIXELS, check_most_pixels, load_image, read_image

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
        (Image.fromarray(np.full((2, 2), 2_500, np.uint16)), "png", (156, 156, 156)),  # 12 bits: 2500 / 16
        (Image.fromarray(np.full((2, 2), 156, np.int32)), "tiff", (156, 156, 156)),
        (Image.fromarray(np.full((2, 2), 156 << 23, np.int32)), "tiff", (78, 78, 78)),  # of 32 bits
        (Image.fromarray(np.full((2, 2), -5, np.int32)), "tiff", (0, 0, 0)),
        (Image.fromarray(np.full((2, 2), 0.5, np.float32)), "tiff", (127, 127, 127)),
        (Image.fromarray(np.full((2, 2), 156.4, np.float32)), "tiff", (156, 156, 156)),
        (Image.fromarray(np.array([[np.nan, np.inf], [0, 40_070]], np.float32)), "tiff", (156, 156, 156)),
        (Image.fromarray(np.full((2, 2), 1e30, np.float32)), "tiff", (255, 255, 255)),
        (CLEAR, "webp", (255, 204, 204)),
        (RED, "bmp", (255, 0, 0)),
    ],
)
def test_every_kind_of_picture_becomes_rgb(
    tmp_path: Path, image: Image.Image, kind: str, pixel: tuple[int, int, int]
) -> None:
    path = tmp_path / f"a.{kind}"
    image.save(path)
    loaded = load_image(str(path), "f:1")
    assert (loaded.mode, loaded.getpixel((1, 1))) == ("RGB", pixel)


def test_colors_of_16_bits_keep_their_upper_half(tmp_path: Path) -> None:
    # A PNG of one pixel, 16 bits each of red, green and blue.
    import struct
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header, row = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0), b"\0" + struct.pack(">HHH", 40_070, 256, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    assert load_image(str(tmp_path / "a.png"), "f:1").getpixel((0, 0)) == (156, 1, 0)


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


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (".", "it is a folder"),
        ("a\0b", "embedded null byte"),
        ("n" * 300, "File name too long"),
        ("a.jpg/b.jpg", "Not a directory"),
        ("circle", "Too many levels of symbolic links"),
        ("pipe.jpg", "it is a pipe, a socket or a device"),
        ("socket.jpg", "it is a pipe, a socket or a device"),
        ("zero.jpg", "it is a pipe, a socket or a device"),
        ("kernel.jpg", "it is empty"),
    ],
)
def test_paths_that_are_no_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(b"x")
    Path("circle").symlink_to("circle")
    os.mkfifo("pipe.jpg")
    Path("zero.jpg").symlink_to("/dev/zero")
    Path("kernel.jpg").symlink_to("/proc/kmsg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        with pytest.raises(FEAError, match=rf"^f:1: image '.*' cannot be read \({told}"):
            load_image(name, "f:1")


BOX = b"\0\0\0\x18ftyp"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "(it is empty); replace it"),
        (bytes(5000), "(it holds nothing but zeros); replace it"),
        (b" \n<!DOCTYPE HTML><html>Sign in</html>", "(it is a web page); replace it"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "(it is a Git LFS pointer, not the picture); fetch",
        ),
        (BOX + b"heic\0\0\0\0mif1heic", "(it is a HEIC picture); save it as JPEG or PNG"),
        (BOX + b"isom\0\0\2\0", "(it is a film); take a frame of it"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "(it is PostScript); save it as JPEG or PNG"),
        (b"PK\3\4rest", "(it is a ZIP archive); unpack it"),
        (b'{"message": "rate limit"}', "(it is JSON or another text); replace it"),
        (b"P6 2 2 255 " + bytes(12), "(it is in none of the formats JPEG, PNG, WEBP, "),
    ],
)
def test_a_file_that_is_no_picture_is_told_for_what_it_is(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(FEAError) as refusal:
        load_image(str(tmp_path / "a.jpg"), "f:1")
    assert told in str(refusal.value)


def test_no_other_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*arguments: object, **options: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(subprocess, "Popen", started)
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(FEAError, match="PostScript"):
        load_image(str(tmp_path / "a.jpg"), "f:1")


def test_the_formats_are_a_short_list() -> None:
    assert {*FORMATS} - {"AVIF"} == {"JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"}


def test_bytes_are_read_like_files() -> None:
    assert read_image(io.BytesIO(_bytes("png")), "f:1: image").size == (30, 40)
    with pytest.raises(FEAError, match=r"^f:1: image cannot be read \(it is a PDF\)"):
        read_image(io.BytesIO(b"%PDF-1.7"), "f:1: image")


def test_a_picture_with_too_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "a.png")
    Image.new("1", (8193, 8192)).save(path)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda _: pytest.fail("decoded"))
    told = rf"\(it has 8193 x 8192 pixels, more than the {MOST_PIXELS} that are allowed\); .* raise max_image_pixels$"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FEAError, match=told):
            load_image(path, "f:1")
    monkeypatch.undo()
    assert load_image(path, "f:1", most_pixels=8193 * 8192).size == (8193, 8192)


def test_what_pillow_refuses_is_one_sentence(tmp_path: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(tmp_path / "a.png")
    with pytest.raises(FEAError, match=r"cannot be read \(it has more than \d+ pixels\); make it smaller"):
        load_image(str(tmp_path / "a.png"), "f:1", most_pixels=10**9)
    check_most_pixels("data.max_image_pixels", MOST_PIXELS)
    for wrong in (0, 10**9):
        with pytest.raises(FEAError, match=rf"^data.max_image_pixels: {wrong}; give a number from 1 to \d+$"):
            check_most_pixels("data.max_image_pixels", wrong)


def test_a_file_larger_than_any_picture_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.webp").open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWEBPVP8X")
        file.truncate(10**10)
    with pytest.raises(FEAError, match="it has 10000000000 bytes, more than any picture that is read"):
        load_image(str(tmp_path / "a.webp"), "f:1")


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 1600).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.broadcast_to(ramp, (1200, 1600))).save(tmp_path / "a.jpg", exif=exif)
    path = str(tmp_path / "a.jpg")
    assert load_image(path, "f:1").size == (1200, 1600)
    assert load_image(path, "f:1", enough=200 * 200).size == (600, 800)
    assert load_image(path, "f:1", enough=150 * 150).size == (300, 400)
    assert load_image(path, "f:1", enough=600 * 600).size == (1200, 1600)  # twice as many along each side are kept
    small = np.asarray(load_image(path, "f:1", enough=150 * 150).resize((30, 40)), dtype=int)
    assert abs(small - np.asarray(load_image(path, "f:1").resize((30, 40)), dtype=int)).max() <= 2


def test_two_pictures_of_a_phone_in_one_file_are_read(tmp_path: Path) -> None:
    RED.resize((64, 64)).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[CLEAR.convert("RGB")])
    assert load_image(str(tmp_path / "a.jpg"), "f:1").size == (64, 64)


@pytest.mark.skipif("AVIF" not in images.FORMATS, reason="this build of Pillow does not read it")
def test_avif_is_read(tmp_path: Path) -> None:
    RED.resize((64, 64)).save(tmp_path / "a.avif")
    assert load_image(str(tmp_path / "a.avif"), "f:1").size == (64, 64)


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
