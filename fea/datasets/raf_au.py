"""RAF-AU: 4,601 faces from the web, coded by FACS experts, with sides and grades.

    RAF-AU/RAFAU_label.txt             lines "0007.jpg 1+L2+4"; "null" where nothing was coded
    RAF-AU/aligned/0007_aligned.jpg    or original/0007.jpg
    EmoLabel/distribution.txt          of RAF-ML, the same faces: name, then shares of six emotions

Codes may have a side (L, R), a lip (T, B) or stand for a movement outside the units (AD19); some lines end in a blank. (Layout:
four loaders, OpenGraphAU among them; order of the emotions: the readme of RAF-ML.) What was looked for is not listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from fea.datasets.conversion import Dropped, Face, Faces, Format, Source, by_number
from fea.datasets.images import NOT_THERE, inside, there
from fea.datasets.reading import lines_of, number, shows
from fea.datasets.signs import RAF_AU as SIGN
from fea.errors import FEAError
from fea.facs import ACTION_UNITS

_LIST = "RAFAU_label.txt"
_SHARES = "distribution.txt"
_EMOTIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger")
_CODE = re.compile(r"([A-Z]*)(\d+)([A-E]?)", re.IGNORECASE)
_GRADES = "ABCDE"  # trace to maximum: 1 to 5


def _recognizes(path: Path) -> bool:
    if path.is_file():
        return shows(path) == SIGN
    return inside(path, _LIST, 1) is not None


def _faces(source: Source) -> Faces:
    listed = source.path if source.path.is_file() else inside(source.path, _LIST, 1)
    if listed is None:
        raise FEAError(f"'{source.path}' has no '{_LIST}'; give the folder of RAF-AU")
    shares = _shares(source)
    for line, text in enumerate(lines_of(listed), 1):
        words = text.split()
        if not words:
            continue
        place = f"line {line} of '{listed}'"
        if len(words) != 2:
            yield Dropped("the line is not such as '0007.jpg 1+L2+4'", place)
            continue
        stem = words[0].rpartition(".")[0].zfill(4)
        image = _image(source.images, stem, words[0])
        if image is None:
            yield Dropped(NOT_THERE, f"{words[0]}, {place}")
        else:
            yield _face(stem, image, words[1], shares.get(stem, {}), place, source)


def _image(root: Path, stem: str, name: str) -> str | None:
    places = (f"aligned/{stem}_aligned.jpg", f"{stem}_aligned.jpg", f"original/{name}", f"original/{stem}.jpg", name)
    return next((found for place in places if (found := there(f"{root}/{place}"))), None)


def _face(stem: str, image: str, text: str, shares: Mapping[str, float], place: str, source: Source) -> Face | Dropped:
    most = max(shares.values(), default=0.0)
    labels = tuple(name for name, share in shares.items() if share == most)
    meta = {"emotion_shares": dict(shares)} if shares else {}
    if text.lower() == "null":
        told = Face(f"raf-au-{stem}", image, labels, meta=meta)
        return told if labels else Dropped("nothing is coded (null), and no emotion is known", place)
    present, grades = set[str](), dict[str, float]()
    for token in text.split("+"):
        code = _CODE.fullmatch(token)
        if code is None or int(code[2]) not in ACTION_UNITS:
            source.note(f"codes that are no Action Unit are left out, such as '{token}' of {stem}")
            continue
        unit = f"AU{code[1].upper() if code[1].upper() in ('L', 'R') else ''}{int(code[2])}"
        present.add(unit)
        if code[3]:
            grades[unit] = _GRADES.index(code[3].upper()) + 1
    if not present and not labels:
        return Dropped("no code is an Action Unit", place)
    return Face(
        f"raf-au-{stem}", image, labels, by_number(present) if present else None,
        intensities={unit: grades[unit] for unit in by_number(grades)}, meta=meta,
    )  # fmt: skip


def _shares(source: Source) -> dict[str, dict[str, float]]:
    """Shares of the emotions by the stem of the image, of RAF-ML; of the whole file, for its order is its own."""
    folder = source.path.parent if source.path.is_file() else source.path
    file = source.second_file or inside(folder, _SHARES)
    if file is None:
        source.note(
            f"RAF-AU has no emotions; '{_SHARES}' of RAF-ML has those of the same faces: name it as --second_file"
        )
        return {}
    return dict(_read_shares(file))


def _read_shares(file: Path) -> Iterator[tuple[str, dict[str, float]]]:
    for line in lines_of(file):
        name, *cells = line.split()[:7] or [""]
        try:
            values = [number(cell) or 0.0 for cell in cells]
        except ValueError:
            continue
        if len(values) == len(_EMOTIONS):
            yield name.rpartition(".")[0].zfill(4), dict(zip(_EMOTIONS, values, strict=True))


FORMAT = Format("raf-au", "RAF-AU", _faces, _recognizes, "RAF-AU")
