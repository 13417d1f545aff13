"""What is to be analyzed: files, folders, patterns, lists of files, films, and pictures in memory."""

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from fea.errors import FEAError
from fea.images.opening import upright

# Endings of pictures, in small letters: of those that are read, and of those of which a row has to say that they are not.
_READ = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".avif"}
_OTHERS = (
    "heic heif hif jp2 j2k jpf jxl psd svg tga ico ppm pgm pbm pnm eps exr hdr qoi dng raw cr2 cr3 nef arw raf orf rw2"
)
_UNREAD = {f".{ending}" for ending in _OTHERS.split()}
_FILMS = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".mts", ".ogv", ".3gp"}
_LIST = ".txt"

One = str | Path | Image.Image | np.ndarray[Any, Any]
Images = One | Sequence[One]


class Input(NamedTuple):
    """One thing that is to be analyzed.

    Attributes:
        name: of the file; of a picture in memory, its number: "image 3".
        picture: in memory, upright and RGB; None for a file.
    """

    name: str
    picture: Image.Image | None = None

    @property
    def film(self) -> bool:
        """Whether it has frames."""
        return self.picture is None and Path(self.name).suffix.lower() in _FILMS


def inputs_of(images: Images, recursive: bool = False) -> list[Input]:
    """What is to be analyzed, in order: what folders, patterns and lists hold is in their place.

    Pictures of a folder are taken by their endings, films only where they are named; what is left out is told. A file with the
    ending .txt is a list: a path a line, from the folder of the list; empty lines and those that begin with # are left out.

    Args:
        images: paths, folders, patterns such as "photos/*.jpg", lists; arrays of (height, width, 3) bytes, red, green and blue;
            pictures of Pillow.
        recursive: take the pictures of folders within folders, too.

    Raises:
        FEAError: there is none, no file that is named exists, a list cannot be read, a pattern finds nothing, or an array is
            no picture.
    """
    named: Sequence[One] = [images] if isinstance(images, str | Path | Image.Image | np.ndarray) else images
    if not isinstance(named, Iterable) or not (named := list(named)):
        raise FEAError(f"images: {images!r} names none; give paths, folders, arrays, pictures or a list of these")
    left_out: Counter[str] = Counter()
    found = [one for place, image in enumerate(named) for one in _inputs(image, place, recursive, left_out)]
    told = ", ".join(f"{count} {kind}" for kind, count in left_out.most_common())
    if not found:
        places = ", ".join(str(image) for image in named)
        deeper = "; with recursive, folders are looked into" if left_out["folder"] else ""
        raise FEAError(f"no image in {places}" + (f"; left out: {told}{deeper}" if told else ""))
    if not any(one.picture is not None or os.path.lexists(one.name) for one in found):  # one of several gets a row
        more = f", and none of {len(found) - 1} more does" if len(found) > 1 else ""
        raise FEAError(f"'{found[0].name}' does not exist{more}; check the path")
    if told:
        print(f"note: left out of the folders: {told}", file=sys.stderr)
    return found


def _inputs(image: One, place: int, recursive: bool, left_out: Counter[str]) -> Iterator[Input]:
    if not isinstance(image, str | Path):
        yield Input(f"image {place}", _picture(image, place))
        return
    path = Path(image)
    if path.is_dir():
        for file in _within(path, recursive):
            if other := _other(file, recursive):
                left_out[other] += 1
            else:
                yield Input(str(file))
    elif path.suffix.lower() == _LIST and path.is_file():
        yield from (one for file in _listed(path) for one in _inputs(file, place, recursive, left_out))
    elif glob.has_magic(str(image)) and not path.exists():
        matching = sorted(glob.glob(str(image), recursive=True))
        if not matching:
            raise FEAError(f"no file is like '{image}'; check the pattern")
        yield from (one for file in matching for one in _inputs(file, place, recursive, left_out))
    else:
        yield Input(str(path))


def _within(folder: Path, recursive: bool) -> list[Path]:
    """What lies in a folder; hidden folders are not looked into."""
    if not recursive:
        return sorted(folder.iterdir())
    found = (file for file in folder.rglob("*") if not file.is_dir() or file.is_symlink())
    inner = ((file, file.relative_to(folder).parts[:-1]) for file in found)
    return sorted(file for file, folders in inner if not any(name.startswith(".") for name in folders))


def _other(file: Path, recursive: bool) -> str:
    """What a file of a folder is, if it is no picture."""
    if file.is_dir():
        return "link to a folder" if recursive else "folder"
    if file.name.startswith("."):
        return "hidden"
    ending = file.suffix.lower()
    return "" if ending in _READ | _UNREAD else ending or "without an ending"


def _listed(file: Path) -> list[Path]:
    """The paths of a list. Lists in lists are not followed, so that none can name itself."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise FEAError(f"'{file}' is no list of files: byte {error.start} is no UTF-8; save it as UTF-8") from None
    paths = [file.parent / line for line in lines if line and not line.startswith("#")]
    inner = next((path for path in paths if path.suffix.lower() == _LIST), None)
    if inner is not None:
        raise FEAError(f"'{file}' names another list, '{inner}'; name that one beside it")
    if not paths:
        raise FEAError(f"'{file}' names no file; write a path on each line")
    return paths


def _picture(image: Any, place: int) -> Image.Image:
    """A picture in memory as RGB.

    Raises:
        FEAError: it is none.
    """
    if isinstance(image, Image.Image):
        return upright(image, f"image {place}")
    if not isinstance(image, np.ndarray):
        raise FEAError(f"image {place} is of type {type(image).__name__}; give a path, an array or a picture of Pillow")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise FEAError(
            f"image {place} is an array of {image.dtype} and of shape {image.shape}; give (height, width, 3) of uint8, red, "
            "green and blue"
        )
    return upright(Image.fromarray(np.ascontiguousarray(image)), f"image {place}")
