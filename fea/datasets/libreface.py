"""Tables of LibreFace: `au_12` says whether a unit shows, `au_12_intensity` how strongly, 0 to 5, and `facial_expression`.

Older versions write `AU_12_intensity`, and no column but that for some units. (Columns: save_facial_attributes of LibreFace.)
Where both are there, `au_12` counts, unless a threshold is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from fea.datasets.conversion import Face, Faces, Format, Source, by_number, plain
from fea.datasets.reading import Table, grade
from fea.datasets.signs import LIBREFACE as SIGN
from fea.datasets.trackers import Row, faces_of, recognizes
from fea.errors import FEAError
from fea.facs import ACTION_UNITS, emotion_name

# From which intensity on a unit shows that has no column of its own: 2, as for the grades of DISFA that LibreFace learned from.
PRESENT = 2.0
_UNIT = re.compile(r"AU_(\d+)(_intensity)?", re.IGNORECASE)


def _recognizes(path: Path) -> bool:
    return recognizes(path, SIGN)


def _faces(source: Source) -> Faces:
    return faces_of(source, SIGN, lambda table: _plan(table, source))


def _plan(table: Table, source: Source) -> Callable[[Row], Face | str]:
    found = {n: m for n in table.columns if (m := _UNIT.fullmatch(n)) and int(m[1]) in ACTION_UNITS}
    strengths = {name: f"AU{int(match[1])}" for name, match in found.items() if match[2]}
    flags = {name: f"AU{int(match[1])}" for name, match in found.items() if not match[2]}
    expression = table.column("facial_expression")
    if not found and not expression:
        raise FEAError(
            f"'{table.file}' has neither columns such as au_12 nor facial_expression; give a table of LibreFace"
        )
    threshold = PRESENT if source.threshold is None else source.threshold
    by_grade = set(strengths.values()) - (set(flags.values()) if source.threshold is None else set())
    told = f"from intensity {threshold:g} on (meta_info.threshold)" if by_grade else "where its column au_N is 1"
    source.note(f"a unit shows {told}")
    meta = {"source": "libreface", **({"threshold": threshold} if by_grade else {})}

    def read(row: Row) -> Face | str:
        if not row.cells:
            return "the row does not fit the columns"
        try:
            grades = {unit: value for name, unit in strengths.items() if (value := grade(row.cells[name])) is not None}
            shows = {unit: value >= 1 for name, unit in flags.items() if (value := grade(row.cells[name])) is not None}
        except ValueError as error:
            return str(error)
        shows |= {unit: value >= threshold for unit, value in grades.items() if unit in by_grade}
        word = emotion_name(row.cells[expression]) if expression else ""
        label = (word,) if word in source.emotions else ()
        if not shows and not label:
            return "no face was found (nothing has a value)"
        return Face(
            f"libreface-{row.name}", row.image or "", label,
            by_number(unit for unit, on in shows.items() if on) if shows else None, by_number(shows) if shows else None,
            {unit: plain(grades[unit]) for unit in by_number(grades)}, meta=meta,
        )  # fmt: skip

    return read


FORMAT = Format("libreface", SIGN.told, _faces, _recognizes, "libreface")
