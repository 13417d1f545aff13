"""FER+: the faces of FER2013, judged by ten people each.

    fer2013new.csv     Usage,Image name,neutral,...,contempt,unknown,NF: votes; as many rows as fer2013.csv, in its order
    FER2013Train/label.csv         fer0000000.png,"(0, 0, 48, 48)",4,0,...: the same votes beside the images, without names
    FER2013Train/fer0000000.png    or Valid, Test: images, if somebody has made them; else fer2013.csv is needed

(Layout: the readme of FER+.) The emotion with most votes is the label, several that have as many are all; NF is no face.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fea.datasets.class_folders import split_of
from fea.datasets.conversion import Dropped, Face, Faces, Format, Source
from fea.datasets.dataset import Dataset
from fea.datasets.fer2013 import picture
from fea.datasets.images import NOT_THERE, inside, there
from fea.datasets.reading import Table, code, shows
from fea.datasets.signs import FERPLUS as SIGN
from fea.errors import FEAError

FERPLUS = Dataset("ferplus", "labels MIT; the rights in the images are not settled")
_EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
_OTHERS = {"unknown": "the coders could not tell (unknown)", "NF": "most coders saw no face (NF)"}
_TABLE = "fer2013new.csv"
_COLUMNS = ("Usage", "Image name", *_EMOTIONS, *_OTHERS)  # either may come without the line that has these
_BESIDE = ("Image name", "box", *_EMOTIONS, *_OTHERS)
_FOLDERS = {"training": "FER2013Train", "publictest": "FER2013Valid", "privatetest": "FER2013Test"}


def _recognizes(path: Path) -> bool:
    return shows(path) == SIGN if path.is_file() else inside(path, _TABLE, 1) is not None


def _faces(source: Source) -> Faces:
    file = source.path if source.path.is_file() else inside(source.path, _TABLE, 1)
    if file is None:
        raise FEAError(f"'{source.path}' has no '{_TABLE}'; give the folder of FER+")
    beside = file.name.lower() == "label.csv"
    table = Table(file, _BESIDE if beside else _COLUMNS)
    usage, name = None if beside else table.needed("Usage"), table.needed("Image name")
    votes = {label: table.needed(label) for label in (*_EMOTIONS, *_OTHERS)}
    pixels = None if beside else _pixels(source, file)
    for line, row in table:
        cell = next(pixels, None) if pixels else None
        place = f"row {line} of '{file}'"
        if row is None:
            yield Dropped("the row does not fit the columns", place)
            continue
        part = file.parent.name if usage is None else row[usage]
        counts = {label: code(row[column]) or 0 for label, column in votes.items()}
        most = max(counts.values())
        leading = [label for label, count in counts.items() if count == most]
        other = next((label for label in _OTHERS if label in leading), None)
        if most == 0 or other:
            yield Dropped(_OTHERS[other] if most and other else "there are no votes", place)
            continue
        image = picture(cell) if cell is not None else _image(source.images, part, row[name])
        if image is None:
            yield Dropped(NOT_THERE, place)
        else:
            shares = {label: count for label, count in counts.items() if count}
            split = split_of(part)
            meta = {**({"split": split} if split else {}), "votes": shares}
            yield Face(f"ferplus-{line:05d}", image, tuple(leading), meta=meta)


def _image(root: Path, usage: str, name: str) -> str | None:
    folder = _FOLDERS.get(usage.lower(), "")
    places = (f"{folder}/{name}", f"Images/{folder}/{name}", f"data/{folder}/{name}", name)
    return next((found for place in places if name and (found := there(os.path.normpath(f"{root}/{place}")))), None)


def _pixels(source: Source, file: Path) -> Iterator[str] | None:
    """The pixels of each row of fer2013.csv; None without that table."""
    found = source.second_file or inside(file.parent, "fer2013.csv", 1)
    if found is None:
        return None
    table = Table(found)
    column = table.needed("pixels")
    return ("" if row is None else row[column] for _, row in table)


FORMAT = Format("ferplus", "FER+", _faces, _recognizes, "FERPlus")
