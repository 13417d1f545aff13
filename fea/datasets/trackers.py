"""Tables of programs that read faces by themselves: their labels are silver, and each line says where it comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from fea.datasets.conversion import Dropped, Face, Source
from fea.datasets.images import NOT_THERE, Images, frames, images_in, is_image
from fea.datasets.reading import Table, code, shows
from fea.datasets.signs import Sign
from fea.errors import FEAError

_IMAGES = ("input", "input_image_path", "image_path", "image", "filename", "file", "path")
_FRAMES = ("frame", "frame_idx")
_SEVERAL = "there are several faces in the image"


class Row(NamedTuple):
    """A row of such a table.

    Attributes:
        name: of the image, for messages and ids.
        image: its full path; None if it is not there.
        cells: by column.
    """

    name: str
    image: str | None
    cells: Mapping[str, str]


def recognizes(path: Path, sign: Sign) -> bool:
    """Whether a file, or the first table of a folder, was written by a program."""
    tables = [path] if path.is_file() else tables_in(path)
    return bool(tables) and shows(tables[0]) == sign


def tables_in(folder: Path) -> list[Path]:
    """The tables of a folder."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".csv" and file.is_file())


def faces_of(
    source: Source, sign: Sign, plan: Callable[[Table], Callable[[Row], Face | str]]
) -> Iterator[Face | Dropped]:
    """The faces of one table or of all in a folder.

    Args:
        source: where they are.
        sign: of the program, to know its tables by.
        plan: looks at the columns of a table once; what it returns reads a row: a face, or why it is none.

    Raises:
        FEAError: there is no such table.
    """
    files = [source.path] if source.path.is_file() else [f for f in tables_in(source.path) if shows(f) == sign]
    if not files:
        raise FEAError(f"'{source.path}' holds no {sign.told.removeprefix('a ').removeprefix('an ')}; check the folder")
    for file in files:
        table = Table(file)
        read = plan(table)
        rows = (row if row.image or not source.absent else row._replace(image=row.name) for row in _rows(table, source))
        for name, found in groupby(rows, lambda row: row.name):
            faces = [(row, read(row)) for row in found]
            whole = [(row, face) for row, face in faces if isinstance(face, Face)]
            yield from (Dropped(why, name) for _, why in faces if isinstance(why, str))
            if len(whole) > 1:
                yield Dropped(_SEVERAL, name, len(whole))
            elif whole and whole[0][0].image is None:
                yield Dropped(NOT_THERE, name)
            else:
                yield from (face for _, face in whole)


def _rows(table: Table, source: Source) -> Iterator[Row]:
    images, column, frame = Images(source.images), table.column(*_IMAGES), table.column(*_FRAMES)
    film = _Film(source)
    for line, cells in table:
        named = cells[column] if cells and column else ""
        if cells is None:
            yield Row(f"row {line} of '{table.file}'", None, {})
        elif is_image(named):
            yield Row(named, images.find(named), cells)
        elif frame:
            stem = Path(named.replace("\\", "/")).stem or table.file.stem
            number = code(cells[frame])
            yield Row(f"{stem}/{cells[frame]}", None if number is None else film.frame(stem, number), cells)
        else:
            yield Row(table.file.stem, _like(source.images, table.file.stem), cells)


def _like(folder: Path, stem: str) -> str | None:
    """The image that is called like a table: programs write one table for each image."""
    return next((path for path in images_in(folder) if os.path.basename(path).rpartition(".")[0] == stem), None)


class _Film:
    """The frames of films, found by their numbers. Programs count from 0 or from 1, and so do those that make the images."""

    def __init__(self, source: Source):
        self.source = source
        self._stem: str | None = None
        self._images: dict[int, str] = {}
        self._offset = 0

    def frame(self, stem: str, number: int) -> str | None:
        if stem != self._stem:
            root = self.source.images
            folder = next((f for f in (root / stem, root / f"{stem}_aligned") if f.is_dir()), root)
            self._stem, self._images = stem, frames(str(folder))
            first = min(self._images, default=number)
            self._offset = first - number if {first, number} == {0, 1} else 0
            self.source.note("rows belong to images by the number of the frame" + " and one" * (self._offset > 0))
        return self._images.get(number + self._offset)
