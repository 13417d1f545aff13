"""Tables of Py-Feat: a probability for each unit and each emotion.

Columns are AU01, AU02, ... and anger, disgust, ...; `input` names the image or the film; where others stand depends on the
version. (Columns: the Fex class of Py-Feat.) The label is the emotion with the highest probability.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from fea.datasets.conversion import Face, Faces, Format, Source, by_number
from fea.datasets.reading import Table, number
from fea.datasets.signs import PY_FEAT as SIGN
from fea.datasets.trackers import Row, faces_of, recognizes
from fea.errors import FEAError
from fea.facs import ACTION_UNITS, EMOTION_SETS

PRESENT = 0.5  # probability from which on a unit shows; Py-Feat has none of its own
_UNIT = re.compile(r"AU(\d\d)", re.IGNORECASE)


def _recognizes(path: Path) -> bool:
    return recognizes(path, SIGN)


def _faces(source: Source) -> Faces:
    return faces_of(source, SIGN, lambda table: _plan(table, source))


def _plan(table: Table, source: Source) -> Callable[[Row], Face | str]:
    units = {
        name: f"AU{int(match[1])}"
        for name in table.columns
        if (match := _UNIT.fullmatch(name)) and int(match[1]) in ACTION_UNITS
    }
    emotions = {column: word for word in EMOTION_SETS["basic7"] if (column := table.column(word))}
    if not units and not emotions:
        raise FEAError(
            f"'{table.file}' has neither columns such as AU12 nor such as happiness; give a table of Py-Feat"
        )
    threshold = PRESENT if source.threshold is None else source.threshold
    source.note(
        f"a unit shows from probability {threshold:g} on (meta_info.threshold); the label is the likeliest emotion"
    )
    meta = {"source": "py-feat", "threshold": threshold}

    def read(row: Row) -> Face | str:
        if not row.cells:
            return "the row does not fit the columns"
        try:
            shows = {u: v >= threshold for name, u in units.items() if (v := number(row.cells[name])) is not None}
            odds = {w: v for name, w in emotions.items() if (v := number(row.cells[name])) is not None}
        except ValueError as error:
            return str(error)
        if not shows and not odds:
            return "no face was found (nothing has a value)"
        label = (max(sorted(odds), key=lambda word: odds[word]),) if odds else ()
        present = by_number(unit for unit, on in shows.items() if on) if shows else None
        return Face(
            f"py-feat-{row.name}", row.image or "", label, present, by_number(shows) if shows else None, meta=meta
        )

    return read


FORMAT = Format("py-feat", SIGN.told, _faces, _recognizes, "py-feat")
