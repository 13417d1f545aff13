"""Finds the image files that a label file names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from fea.datasets.reading import natural

# By their names; what a file really is, `fea data check` finds out by opening it.
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".ppm", ".pgm")
)
NOT_THERE = "the image is not there"
# First bytes of the formats that images within tables have.
_SIGNATURES = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"BM", ".bmp"), (b"RIFF", ".webp"))
_DRIVE = re.compile(r"[A-Za-z]:/")


def is_image(name: str) -> bool:
    """Whether a file is called like an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


class Images:
    """Looks for images below a folder.

    Names may have backslashes, another case, or a full path of the machine that they were written on: of these the beginning
    that is not here is cut off, the same for all, so that no two names come to mean one file.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path):
        self.root = os.path.abspath(root)
        self._foreign: str | None = None  # beginning of full paths that stands for the root

    def find(self, name: str) -> str | None:
        """The full path of an image; None if it is not there."""
        path = name.strip().strip("\"'").replace("\\", "/")
        if not path:
            return None
        if not (path.startswith("/") or _DRIVE.match(path)):
            return there(os.path.normpath(f"{self.root}/{path}"))
        if found := there(os.path.normpath(path)):
            return found
        return self._moved(path)

    def _moved(self, path: str) -> str | None:
        if self._foreign is not None:
            return there(f"{self.root}/{path[len(self._foreign) :]}") if path.startswith(self._foreign) else None
        for cut in (match.end() for match in re.finditer("/", path)):
            if found := there(f"{self.root}/{path[cut:]}"):
                self._foreign = path[:cut]
                return found
        return None


def there(path: str) -> str | None:
    """A file as it is spelled on the disk; the case of its name is tried last."""
    if os.path.isfile(path):
        return path
    folder, name = os.path.split(path)
    real = _names(folder).get(name.lower())
    return f"{folder}/{real}" if real else None


def _names(folder: str) -> dict[str, str]:
    """The files of a folder by their names in lower case."""
    return _listed(folder, _state(folder))[0]


def _state(folder: str) -> int:
    """Changes with what a folder holds."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=256)
def _listed(folder: str, _state: int) -> tuple[dict[str, str], tuple[str, ...]]:
    """Files by their names in lower case, and the names of the folders that are not hidden, in order."""
    try:
        with os.scandir(folder) as entries:
            kinds = [(entry.name, entry.is_dir()) for entry in entries]
    except OSError:
        return {}, ()
    files = {name.lower(): name for name, is_folder in kinds if not is_folder}
    return files, tuple(sorted(name for name, is_folder in kinds if is_folder and not name.startswith(".")))


def images_in(folder: Path | str) -> list[str]:
    """Full paths of the images in a folder, in the order of their numbers."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if is_image(entry.name) and not entry.name.startswith(".")]
    return [f"{os.path.abspath(folder)}/{name}" for name in sorted(names, key=natural)]


def folders_below(root: Path, depth: int) -> Iterator[str]:
    """Full paths of the folders below one, sorted; hidden ones are left out.

    Args:
        root: the folder.
        depth: how many levels below it are looked at.
    """
    if depth:
        top = os.path.abspath(root)
        for name in _listed(top, _state(top))[1]:
            yield f"{top}/{name}"
            yield from folders_below(Path(f"{top}/{name}"), depth - 1)


def inside(root: Path, name: str, depth: int = 2) -> Path | None:
    """A file or a folder of a name in a folder or a little below it, also in capitals; None if there is none."""
    spellings = dict.fromkeys((name, name.lower(), name.upper()))
    for folder in (os.path.abspath(root), *folders_below(root, depth)):
        for spelling in spellings:
            if os.path.exists(f"{folder}/{spelling}"):
                return Path(folder, spelling)
    return None


def frames(folder: str) -> dict[int, str]:
    """The images of a folder by the last number in their names: 12 for "0012.jpg" and for "SN001_comp_0012.png"."""
    found: dict[int, str] = {}
    for path in images_in(folder):
        digits = re.findall(r"\d+", os.path.splitext(os.path.basename(path))[0])
        if digits:
            found.setdefault(int(digits[-1]), path)
    return found


def suffix_of(content: bytes) -> str:
    """How the name of a file with this content ends."""
    return next((suffix for start, suffix in _SIGNATURES if content.startswith(start)), ".png")
