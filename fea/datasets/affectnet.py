"""AffectNet: faces from the web with one of eight emotions, valence and arousal.

    Manually_Annotated_file_lists/training.csv     and validation.csv; the first may lack the line with the names
    Manually_Annotated_Images/123/abc.jpg          as subDirectory_filePath has it
    train_set/annotations/7_exp.npy, 7_val.npy     and 7_aro.npy, beside train_set/images/7.jpg; values may be texts
    train/3/abc.jpg                                copies in folders have the same numbers

(Codes and layouts: the readme of the data set, loaders of ExpLLM and HSEmotion.) There is no public test part: papers
test on the validation part, which is called "val" here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fea.datasets.class_folders import class_folders, faces_of, split_of
from fea.datasets.conversion import Dropped, Face, Faces, Format, Source
from fea.datasets.dataset import Dataset
from fea.datasets.images import NOT_THERE, Images, images_in, inside
from fea.datasets.reading import Table, code, named, natural, number, shows
from fea.datasets.signs import AFFECTNET as SIGN
from fea.errors import FEAError

if TYPE_CHECKING:
    import numpy as np

AFFECTNET = Dataset("affectnet", "non-commercial research and education; no passing on")
CODES = dict(enumerate(("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")))
_FOLDERS = {str(number): label for number, label in CODES.items()}
_NO_LABEL = {8: "the emotion is 'none' (8)", 9: "the emotion is 'uncertain' (9)", 10: "there is no face (10)"}
_COLUMNS = (
    *("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks"),
    *("expression", "valence", "arousal"),
)
_LISTS = ("training.csv", "validation.csv")


def _recognizes(path: Path) -> bool:
    if path.is_file():
        return shows(path) == SIGN
    if any(inside(path, name, 1) for name in _LISTS):
        return True
    return bool(_annotations(path)) or _copied(path)


def _annotations(path: Path) -> list[Path]:
    return [folder for split in ("train_set", "val_set") if (folder := path / split / "annotations").is_dir()]


def _copied(path: Path) -> bool:
    """Whether there are folders 0 to 7; those of RAF-DB begin at 1, and with 0 to 6 it may be another data set."""
    return {Path(folder.path).name for folder in class_folders(path, _FOLDERS)} == _FOLDERS.keys()


def _faces(source: Source) -> Faces:
    lists = [source.path] if source.path.is_file() else [f for name in _LISTS if (f := inside(source.path, name, 1))]
    for file in lists:
        yield from _listed(file, source)
    if lists:
        return
    folders = _annotations(source.path)
    for folder in folders:
        yield from _arrays(folder)
    if folders:
        return
    copies = class_folders(source.path, _FOLDERS)
    if not copies:
        raise FEAError(
            f"'{source.path}' holds neither {' nor '.join(_LISTS)} nor train_set/annotations nor folders 0 to 7; give the "
            "folder of AffectNet"
        )
    yield from faces_of(copies, "affectnet")


def _listed(file: Path, source: Source) -> Iterator[Face | Dropped]:
    table = Table(file, _COLUMNS)
    names = [table.needed(name) for name in ("subDirectory_filePath", "expression", "valence", "arousal")]
    width = table.column("face_width")
    root = source.images.parent if source.images.name == "Manually_Annotated_file_lists" else source.images
    images = Images(inside(root, "Manually_Annotated_Images", 1) or root)
    split = split_of(file.stem)
    for line, row in table:
        place = f"row {line} of '{file}'"
        if row is None:
            yield Dropped("the row does not fit the columns", place)
            continue
        name, expression, valence, arousal = (row[column] for column in names)
        if width and (code(row[width]) or 0) < 0:
            yield Dropped("the box of the face has no width", place)
            continue
        found = images.find(name)
        yield _face(name.replace("\\", "/").rpartition(".")[0], found, expression, valence, arousal, split, place)


def _face(
    stem: str, image: str | None, expression: str, valence: str, arousal: str, split: str | None, place: str
) -> Face | Dropped:
    label = named(expression, CODES)
    if label is None:
        return Dropped(named(expression, _NO_LABEL) or f"{expression!r} is none of the codes 0 to 10", place)
    if image is None:
        return Dropped(NOT_THERE, f"{stem}, {place}")
    meta = {"split": split} if split else {}
    return Face(f"affectnet-{stem}", image, (label,), valence=_score(valence), arousal=_score(arousal), meta=meta)


def _score(cell: str) -> float | None:
    """Valence or arousal; -2 stands for an unknown one."""
    try:
        value = number(cell)
    except ValueError:
        return None
    return value if value is not None and -1 <= value <= 1 else None


def _arrays(folder: Path) -> Iterator[Face | Dropped]:
    images = {Path(image).stem: image for image in images_in(folder.parent / "images")}
    split = split_of(folder.parent.name)
    names = (name for name in os.listdir(folder) if name.endswith("_exp.npy"))
    for file in sorted(names, key=natural):
        stem = file.removesuffix("_exp.npy")
        expression, valence, arousal = (_array(f"{folder}/{stem}_{name}.npy") for name in ("exp", "val", "aro"))
        name = f"{folder.parent.name}-{stem}"
        yield _face(name, images.get(stem), expression, valence, arousal, split, f"{folder}/{file}")


def _array(file: str) -> str:
    """The one value of an array as text; "" if it is not there or no such array."""
    import numpy as np

    try:
        with open(file, "rb", buffering=0) as stream:
            content = stream.read()
        start = _data_at(content)
        return str(np.frombuffer(content, _kind(content[:start]), count=1, offset=start).item())
    except (OSError, ValueError):
        return ""


def _data_at(content: bytes) -> int:
    """Where the values of an array begin, as `numpy.lib.format` lays out its version 1."""
    if content[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError("no array")
    return 10 + int.from_bytes(content[8:10], "little")


@lru_cache
def _kind(head: bytes) -> np.dtype[Any]:
    """The type of the one value behind a head. A data set has three heads, and numpy takes most of its time to read one."""
    import numpy as np

    shape, _, kind = np.lib.format.read_array_header_1_0(BytesIO(head[8:]))
    if kind.hasobject or math.prod(shape) != 1:
        raise ValueError("no single value")
    return kind


FORMAT = Format("affectnet", "AffectNet", _faces, _recognizes, "AffectNet")
