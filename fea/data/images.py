"""Reads image files: RGB, upright, whole, or one sentence that says why not; and what their paths are relative to."""

from __future__ import annotations

from PIL import Image, ImageOps

from fea.errors import FEAError

# Times the shorter side. No face is in a longer strip, and no family of `fea.model.families` takes one.
LONGEST_SIDE = 200


def load_image(path: str, place: str, flipped: bool = False) -> Image.Image:
    """Reads an image as RGB, with EXIF orientation applied, transparency on white, the first frame of an animation.

    Args:
        path: the image file.
        place: file and line that name it, for the message.
        flipped: mirror it left to right.

    Raises:
        FEAError: the file is missing, damaged, no image, or a mere strip.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            image = _rgb(ImageOps.exif_transpose(opened))
    except FileNotFoundError:
        raise FEAError(f"{place}: image '{path}' does not exist; check 'image_root'") from None
    except Exception as error:  # whatever Pillow's decoders stumble over in a damaged file
        raise FEAError(f"{place}: image '{path}' cannot be read ({error}); replace it") from None
    if max(image.size) > LONGEST_SIDE * min(image.size):
        raise FEAError(
            f"{place}: image '{path}' of {image.width} x {image.height} pixels is no picture of a face; crop it"
        )
    return ImageOps.mirror(image) if flipped else image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray, which convert() would clip
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
