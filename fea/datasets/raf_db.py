"""RAF-DB, basic emotions: 15,339 faces from the web, one of seven emotions each.

    basic/EmoLabel/list_patition_label.txt          (spelled so) lines "train_00001.jpg 5"
    basic/Image/aligned/train_00001_aligned.jpg     or Image/original/train_00001.jpg
    train/5/train_00001_aligned.jpg                 copies in folders have the same numbers

(Codes: the readme of the data set, as quoted by Self-Cure-Network and others.) The test part is given by the names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fea.datasets.class_folders import class_folders, faces_of
from fea.datasets.conversion import Dropped, Face, Faces, Format, Source
from fea.datasets.dataset import Dataset
from fea.datasets.images import NOT_THERE, inside, there
from fea.datasets.reading import lines_of, shows
from fea.datasets.signs import RAF_DB as SIGN
from fea.errors import FEAError

RAF = Dataset("raf-", "research; no passing on to third parties, no profit")
CODES = {
    "1": "surprise",
    "2": "fear",
    "3": "disgust",
    "4": "happiness",
    "5": "sadness",
    "6": "anger",
    "7": "neutral",
}
_LIST = "list_patition_label.txt"
_NAME = re.compile(r"(train|test)_\d+", re.IGNORECASE)


def _recognizes(path: Path) -> bool:
    if path.is_file():
        return shows(path) == SIGN
    if inside(path, _LIST, 3):
        return True
    folders = {Path(folder.path).name for folder in class_folders(path, {**CODES, "0": ""})}
    return folders == CODES.keys()  # with a folder 0 it is another data set


def _faces(source: Source) -> Faces:
    listed = source.path if source.path.is_file() else inside(source.path, _LIST, 3)
    if listed:
        yield from _listed(listed, source)
        return
    folders = class_folders(source.path, CODES)
    if not folders:
        raise FEAError(f"'{source.path}' holds neither '{_LIST}' nor folders 1 to 7; give the folder of RAF-DB")
    yield from faces_of(folders, "raf-db")


def _listed(file: Path, source: Source) -> Iterator[Face | Dropped]:
    root = _image_folder(source)
    for number, line in enumerate(lines_of(file), 1):
        words = line.split()
        if not words:
            continue
        place = f"line {number} of '{file}'"
        name, value = words[0].replace("\\", "/").rpartition("/")[2], words[-1]
        stem = name.rpartition(".")[0]
        named = _NAME.match(stem)
        if len(words) != 2 or not named:
            yield Dropped("the line is not such as 'train_00001.jpg 5'", place)
        elif value not in CODES:
            yield Dropped(f"{value} is none of the codes 1 to 7", place)
        elif image := _image(root, stem, name):
            yield Face(f"raf-db-{stem}", image, (CODES[value],), meta={"split": named[1].lower()})
        else:
            yield Dropped(NOT_THERE, f"{name}, {place}")


def _image_folder(source: Source) -> Path:
    root = source.images.parent if source.images.name == "EmoLabel" else source.images
    return inside(root, "Image", 2) or root


def _image(root: Path, stem: str, name: str) -> str | None:
    """The aligned face if it is there, else the photograph; both also where they lie together in one folder."""
    places = (f"aligned/{stem}_aligned.jpg", f"{stem}_aligned.jpg", f"original/{name}", name, f"aligned/{name}")
    return next((found for place in places if (found := there(f"{root}/{place}"))), None)


FORMAT = Format("raf-db", "RAF-DB", _faces, _recognizes, "RAF-DB")
