"""Tables of OpenFace 1 and 2: `_c` says whether a unit shows, `_r` how strongly, 0 to 5.

Names begin with blanks in some versions, AU28 has no `_r`, and the two may disagree: `_c` counts, unless a threshold is given.
(Columns: the output page of the OpenFace wiki.) The tables of OpenFace 3 number their columns by place, and are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from fea.datasets.conversion import Face, Faces, Format, Source, by_number, plain
from fea.datasets.reading import Table, grade, number
from fea.datasets.signs import OPENFACE as SIGN
from fea.datasets.trackers import Row, faces_of, recognizes
from fea.errors import FEAError
from fea.facs import ACTION_UNITS

# From which intensity on a unit shows where there is no `_c`: 1 is "present at minimum intensity" in the OpenFace wiki.
PRESENT = 1.0
_UNIT = re.compile(r"AU(\d\d)_([rc])", re.IGNORECASE)


def _recognizes(path: Path) -> bool:
    return recognizes(path, SIGN)


def _faces(source: Source) -> Faces:
    return faces_of(source, SIGN, lambda table: _plan(table, source))


def _plan(table: Table, source: Source) -> Callable[[Row], Face | str]:
    found = {name: match for name in table.columns if (match := _UNIT.fullmatch(name))}
    foreign = next((name for name, match in found.items() if int(match[1]) not in ACTION_UNITS), None)
    if foreign:
        raise FEAError(
            f"'{table.file}' has a column '{foreign}', which is no unit: OpenFace 3 numbers its columns by place; name them by "
            "their units, such as AU12_r"
        )
    strengths = {name: f"AU{int(match[1])}" for name, match in found.items() if match[2].lower() == "r"}
    flags = {name: f"AU{int(match[1])}" for name, match in found.items() if match[2].lower() == "c"}
    if not found:
        raise FEAError(f"'{table.file}' has no columns such as AU12_c; give a table of OpenFace with Action Units")
    graded = source.threshold is not None or not flags
    threshold = PRESENT if source.threshold is None else source.threshold
    by_grade = f"from intensity {threshold:g} on (meta_info.threshold)"
    source.note(f"a unit shows {by_grade if graded else 'where its column _c is 1'}")
    meta = {"source": "openface", **({"threshold": threshold} if graded else {})}
    success, confidence = table.column("success"), table.column("confidence")

    def read(row: Row) -> Face | str:
        if not row.cells:
            return "the row does not fit the columns"
        if success and row.cells[success] in ("0", "0.0"):
            return "no face was found (success is 0)"
        try:
            grades = {unit: value for name, unit in strengths.items() if (value := grade(row.cells[name])) is not None}
            shows = {unit: value >= 1 for name, unit in flags.items() if (value := grade(row.cells[name])) is not None}
            sure = number(row.cells[confidence]) if confidence else None
        except ValueError as error:
            return str(error)
        shows |= {unit: value >= threshold for unit, value in grades.items()} if graded else {}
        if not shows:
            return "no unit has a value"
        return Face(
            f"openface-{row.name}", row.image or "", (), by_number(unit for unit, on in shows.items() if on), by_number(shows),
            {unit: plain(grades[unit]) for unit in by_number(grades)},
            meta={**meta, **({} if sure is None else {"confidence": sure})},
        )  # fmt: skip

    return read


FORMAT = Format("openface", SIGN.told, _faces, _recognizes, "openface")
