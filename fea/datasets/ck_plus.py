"""CK+: sequences from rest to the peak of an expression; the last frame of each was coded by FACS, and some have an emotion.

    cohn-kanade-images/S005/001/S005_001_00000011.png
    FACS/S005/001/S005_001_00000011_facs.txt           lines "   9.0e+00   4.0e+00": a unit and its grade, 0 for no grade
    Emotion/S005/001/S005_001_00000011_emotion.txt     "   3.0e+00"; folders of some sequences are empty
    CK+48/anger/S010_004_00000017.png                  the copy in folders, last three frames of each sequence, no units
    ckextended.csv                                     emotion,pixels,Usage as in FER2013, with its codes, and 7 for contempt

(Codes: the readme of the data set, as quoted by several loaders.) All units of FACS were looked for.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from fea.datasets.class_folders import class_folders, faces_of
from fea.datasets.conversion import Dropped, Face, Faces, Format, Source, by_number, plain
from fea.datasets.dataset import Dataset
from fea.datasets.fer2013 import CODES as FER2013_CODES
from fea.datasets.fer2013 import faces_in
from fea.datasets.images import NOT_THERE, inside, there
from fea.datasets.reading import Table, lines_of, named, number, shows
from fea.datasets.signs import FER2013
from fea.errors import FEAError
from fea.facs import ACTION_UNITS

CK_PLUS = Dataset("ck+", "research, by an agreement with its owners")
CODES = dict(enumerate(("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")))
_FOLDERS = {
    "anger": "anger", "contempt": "contempt", "disgust": "disgust", "fear": "fear", "happy": "happiness",
    "sadness": "sadness", "surprise": "surprise",
}  # fmt: skip
_OF_THE_TABLE = {**FER2013_CODES, 7: "contempt"}
_NAME = re.compile(r"(S\d{3})_(\d{3})_\d{8}", re.IGNORECASE)
_IMAGES = ("cohn-kanade-images", "extended-cohn-kanade-images")
_UNITS = ("FACS", "FACS_labels")
_EMOTIONS = ("Emotion", "Emotion_labels")


def _recognizes(path: Path) -> bool:
    if path.is_file():
        return path.name.lower().startswith("ck") and shows(path) == FER2013
    return path.is_dir() and (_folder(path, _IMAGES) is not None or _copied(path))


def _folder(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((found for name in names if (found := inside(root, name, 1))), None)


def _copied(path: Path) -> bool:
    folders = class_folders(path, _FOLDERS)
    first = next((name for folder in folders[:1] for name in sorted(os.listdir(folder.path))), "")
    return _NAME.match(first) is not None


def _faces(source: Source) -> Faces:
    if source.path.is_file():
        source.note("this copy of CK+ does not say who is who: its parts may show the same people")
        yield from faces_in(Table(source.path), _OF_THE_TABLE, "ck+")
        return
    if _folder(source.images, _IMAGES) is None and _copied(source.path):
        yield from faces_of(class_folders(source.path, _FOLDERS), "ck+")
        return
    root = _folder(source.images, _IMAGES) or source.images
    files: dict[str, dict[str, Path]] = {}
    for kind, names in (("facs", _UNITS), ("emotion", _EMOTIONS)):
        folder = _folder(source.path, names)
        for file in sorted(folder.rglob("*.txt")) if folder else []:
            if stem := _NAME.match(file.name):
                files.setdefault(stem[0].upper(), {})[kind] = file
    if not files:
        raise FEAError(f"'{source.path}' has neither FACS nor Emotion beside its images; give the folder of CK+")
    for name, found in sorted(files.items()):
        subject, sequence, _ = name.split("_")
        places = (f"{root}/{subject}/{sequence}/{name}.png", f"{root}/{name}.png")
        image = next((path for place in places if (path := there(place))), None)
        if image is None:
            yield Dropped(NOT_THERE, name)
        else:
            yield _face(
                name, image, found.get("facs"), found.get("emotion"), {"subject": subject, "sequence": sequence}
            )


def _face(stem: str, image: str, facs: Path | None, emotion: Path | None, meta: dict[str, str]) -> Face | Dropped:
    said = [word for line in lines_of(emotion) for word in line.split()] if emotion else []
    label = named(said[0], CODES) if said else None
    units = _units(facs) if facs else None
    if units is None and label is None:
        return Dropped("neither units nor an emotion are given", stem)
    grades = {} if units is None else {unit: grade for unit, grade in units.items() if grade}
    present = None if units is None else by_number(units)
    return Face(
        f"ck+-{stem}", image, (label,) if label else (), present,
        intensities={unit: plain(grades[unit]) for unit in by_number(grades)}, meta=meta,
    )  # fmt: skip


def _units(file: Path) -> dict[str, float]:
    """Units with their grades, 0 for one that was not graded."""
    found: dict[str, float] = {}
    for line in lines_of(file):
        try:
            values = [number(word) or 0.0 for word in line.split()]
        except ValueError:
            continue
        if values and int(values[0]) in ACTION_UNITS:
            found[f"AU{int(values[0])}"] = values[1] if len(values) > 1 and 0 <= values[1] <= 5 else 0.0
    return found


FORMAT = Format("ck+", "CK+", _faces, _recognizes, "CK+")
