"""Every picture of the project is opened here: RGB, upright and whole, or one sentence that says why not.

A file may hold anything, whatever its name says. So it is looked at before it is opened (a pipe would never end), its format
is one of a short list (others are read by programs that a picture could run), and the number of its pixels is read from its
first bytes (a small file can unfold into many gigabytes).
"""

from __future__ import annotations

import os
import stat
import warnings
from typing import BinaryIO, NoReturn

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from fea.errors import FEAError
from fea.images.signatures import told_by

# AVIF is missing from some builds of Pillow.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", *(["AVIF"] if features.check("avif") else []))
# Times the shorter side. No face is in a longer strip, and no family of `fea.model.families` takes one.
LONGEST_SIDE = 200
# 8192 x 8192: more than the 50 megapixels of a phone, and at 4 bytes a pixel 256 MiB for each process that reads ahead.
MOST_PIXELS = 1 << 26
AT_A_TIME = 8  # images that are decoded together: the largest that are allowed take half a gigabyte each
_PILLOW_READS = 2 * 89_478_485  # beyond this Pillow refuses by itself, unless it was told otherwise
_BYTES = 8  # of a pixel at most: 16 bits each for red, green, blue and transparency
# A picture is decoded at a fraction of its size if it still has this many times the pixels that are asked for: twice as many
# along each side, so that nothing is lost to the eye when it is reduced further.
_SPARE = 4
_DEPTHS = (8, 12, 16, 24, 32)  # bits of a gray value that cameras and scanners write

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # we refuse earlier, in words of our own


def check_most_pixels(setting: str, pixels: int) -> None:
    """Refuses a limit that cannot be kept.

    Args:
        setting: its name.
        pixels: the limit.

    Raises:
        FEAError: it is below 1, or above what Pillow reads.
    """
    if not 1 <= pixels <= _PILLOW_READS:
        raise FEAError(f"{setting}: {pixels}; give a number from 1 to {_PILLOW_READS}")


def load_image(
    path: str, place: str, flipped: bool = False, most_pixels: int = MOST_PIXELS, enough: int | None = None
) -> Image.Image:
    """Reads an image file as RGB, with EXIF orientation applied, transparency on white, the first frame of an animation.

    Args:
        path: the image file.
        place: file and line that name it, for the message.
        flipped: mirror it left to right.
        most_pixels: it may have, by its first bytes.
        enough: pixels that will be looked at; a JPEG with far more is decoded at a half, a quarter or an eighth of its size.

    Raises:
        FEAError: the file is missing, damaged, no picture, too large or a mere strip.
    """
    name = f"{place}: image '{path}'"
    try:
        with _opened(path, name, most_pixels) as stream:
            image = read_image(stream, name, most_pixels, enough)
    except FileNotFoundError:
        raise FEAError(f"{name} does not exist; check 'image_root'") from None
    except (OSError, ValueError) as error:
        if isinstance(error, FEAError):
            raise
        _refuse(name, (isinstance(error, OSError) and error.strerror) or str(error), "check the path")
    return ImageOps.mirror(image) if flipped else image


def image_bytes(path: str, most_pixels: int = MOST_PIXELS) -> bytes:
    """The content of an image file, whatever it is.

    Raises:
        FEAError: the file is missing, empty, no file, or larger than any picture of so many pixels.
    """
    name = f"image '{path}'"
    try:
        with _opened(path, name, most_pixels) as stream:
            return stream.read()
    except FEAError:
        raise
    except (OSError, ValueError) as error:
        _refuse(name, (isinstance(error, OSError) and error.strerror) or str(error), "check the path")


def read_image(stream: BinaryIO, name: str, most_pixels: int = MOST_PIXELS, enough: int | None = None) -> Image.Image:
    """Reads an image from a stream that can be searched, such as the bytes of a table; otherwise like `load_image`.

    Args:
        stream: the bytes of the image.
        name: what the message calls it.
        most_pixels: it may have, by its first bytes.
        enough: pixels that will be looked at.

    Raises:
        FEAError: it is damaged, no picture, too large or a mere strip.
    """
    try:
        with Image.open(stream, formats=FORMATS) as opened:
            _check_size(opened, name, most_pixels)
            if enough and opened.width * opened.height > 4 * _SPARE * enough:
                shrink = (opened.width * opened.height / (_SPARE * enough)) ** 0.5
                opened.draft(None, (max(1, int(opened.width / shrink)), max(1, int(opened.height / shrink))))
            opened.load()
            ImageOps.exif_transpose(opened, in_place=True)
            return _rgb(opened)
    except FEAError:
        raise
    except UnidentifiedImageError:
        stream.seek(0)
        _refuse(name, *told_by(stream.read(512), FORMATS))
    except Image.DecompressionBombError:
        _refuse(name, f"it has more than {_PILLOW_READS} pixels", "make it smaller")
    except Exception as error:  # whatever Pillow's decoders stumble over in a damaged file
        _refuse(name, str(error) or type(error).__name__, "replace it")


def upright(image: Image.Image, name: str) -> Image.Image:
    """A picture in memory as an RGB picture of its own, with EXIF orientation applied and transparency on white.

    Args:
        image: the picture.
        name: what the message calls it.

    Raises:
        FEAError: it cannot be decoded, is too large or a mere strip.
    """
    _check_size(image, name, _PILLOW_READS)  # it is in memory already
    try:
        return _rgb(ImageOps.exif_transpose(image))
    except (OSError, ValueError, SyntaxError) as error:
        _refuse(name, str(error), "replace it")


def _refuse(name: str, reason: str, advice: str) -> NoReturn:
    raise FEAError(f"{name} cannot be read ({reason}); {advice}") from None


def _opened(path: str, name: str, most_pixels: int) -> BinaryIO:
    """An open file. Reading anything else might wait forever, and opening a device might already do something."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
        _refuse(name, f"it is {kind}", "name a file")
    if not found.st_size:  # so are the files under /proc, which may wait too
        _refuse(name, "it is empty", "replace it")
    if found.st_size > _BYTES * most_pixels + (1 << 26):  # with room for what else stands in such a file
        _refuse(name, f"it has {found.st_size} bytes, more than any picture that is read", "make it smaller")
    return open(path, "rb")


def _check_size(image: Image.Image, name: str, most_pixels: int) -> None:
    width, height = image.size
    if width * height > most_pixels:
        _refuse(
            name,
            f"it has {width} x {height} pixels, more than the {most_pixels} that are allowed",
            "make it smaller, or raise max_image_pixels",
        )
    if max(image.size) > LONGEST_SIDE * min(image.size):
        raise FEAError(f"{name} of {width} x {height} pixels is no picture of a face; crop it")


def _rgb(image: Image.Image) -> Image.Image:
    """An RGB picture of its own, with white behind what is transparent."""
    if image.mode == "F" or image.mode.startswith("I"):
        image = _gray(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        if image.mode in ("La", "RGBa"):  # multiplied by their transparency, and only known to their like
            image = image.convert("LA" if image.mode == "La" else "RGBA")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _gray(image: Image.Image) -> Image.Image:
    """Values of more than 8 bits, or with a fraction, as 8 bits. How many bits are in use, only the values say.

    12-bit values in a file of 16 bits would come out black if they were taken for 16 bits.
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0, neginf=0)
    top = float(values.max())
    full = 1.0 if image.mode == "F" and top <= 1 else next((2.0**bits for bits in _DEPTHS if top < 2.0**bits), top)
    scaled = values * (255 if full == 1 else 256 / full)
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8))
