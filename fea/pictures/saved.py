"""Pictures in a folder of their own, named after their images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from fea.errors import FEAError
from fea.pictures.composing import Told, composed
from fea.pictures.fonts import lacking, printable
from fea.pictures.rendering import MADE_BY, as_png, as_svg
from fea.system.files import PART, try_place, write_atomically

_LONGEST = 120  # characters of an image's name in that of its picture: with the rest, and in bytes, it stays below 255
_HEAD = 400  # bytes of an SVG in which its maker stands
_PICTURE = (".png", ".svg")


class Pictures:
    """Writes a PNG and an SVG for each answer.

    Args:
        folder: new, empty, or with pictures that were written before; `check_folder` has passed it.
        images: names of all images, so that none of two has the name of the other, in whatever order they come.

    Attributes:
        lacking: characters that no font here has; in a PNG they are boxes.
    """

    def __init__(self, folder: Path, images: Iterable[str]):
        self.folder = folder
        self._stems = Counter(_stem(image).casefold() for image in dict.fromkeys(images))
        self.lacking: set[str] = set()

    def save(self, image: str, part: str, told: Told) -> Path:
        """Writes the pictures of an answer.

        Args:
            image: the file that was asked about.
            part: which of its faces or frames, of letters, digits and "-"; "" for all of it.
            told: what they show.

        Returns:
            The PNG; the SVG lies beside it.
        """
        name = self._name(image) + (f"@{part}" if part else "")
        layout = composed(told)
        text = "".join([told.title, told.reasoning, told.emotion, *told.emotion_votes])
        self.lacking |= {character for character in set(printable(text)) if lacking(character)}
        png = self.folder / f"{name}.png"
        write_atomically(png, as_png(layout))
        write_atomically(png.with_suffix(".svg"), as_svg(layout))
        return png

    def _name(self, image: str) -> str:
        stem = _stem(image)  # in which there is no "@"
        if self._stems[stem.casefold()] == 1:
            return stem
        return f"{stem}@{blake2b(image.encode(errors='surrogateescape'), digest_size=4).hexdigest()}"


def _stem(image: str) -> str:
    """What the name of a picture begins with: that of the image, without what some system does not allow in a name."""
    stem = Path(image).stem or "image"
    plain = "".join("_" if character in '<>:"/\\|?*@\ufffd' else character for character in printable(stem))
    return plain.encode()[:_LONGEST].decode(errors="ignore")


def check_folder(folder: Path) -> None:
    """Finds out before the work whether pictures can be written into a folder, and that they take the place of no other file.

    Raises:
        FEAError: it is no folder, or holds something else than pictures that were written before.
        OSError: there is no room, or no permission.
    """
    if folder.exists() and not folder.is_dir():
        raise FEAError(f"save_vis: '{folder}' is no folder; name a new one")
    strange = next(_strange(folder), None) if folder.is_dir() else None
    if strange is not None:
        raise FEAError(f"save_vis: '{folder}' holds '{strange.name}', which is no picture of ours; name a new folder")
    try_place(folder / "picture.png")


def _strange(folder: Path) -> Iterator[Path]:
    for file in folder.iterdir():
        hidden = file.name.startswith(".") or file.name.endswith(PART)
        if not hidden and not (file.suffix in _PICTURE and _ours(file)):
            yield file


def _ours(file: Path) -> bool:
    if not file.is_file():
        return False
    if file.suffix == ".svg":
        with file.open("rb") as stream:
            return f"<!-- {MADE_BY}".encode() in stream.read(_HEAD)
    try:
        with Image.open(file, formats=["PNG"]) as image:
            return image.info.get("Software") == MADE_BY
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return False
