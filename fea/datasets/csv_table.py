"""A CSV of one's own; any delimiter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from fea.datasets.conversion import Dropped, Faces, Format, Source
from fea.datasets.own_table import Columns
from fea.datasets.reading import Table, lines_of
from fea.errors import FEAError

_SUFFIXES = (".csv", ".tsv", ".txt", ".tab")


def _recognizes(path: Path) -> bool:
    if not path.is_file() or path.suffix.lower() not in _SUFFIXES:
        return False
    try:
        return any(mark in next(lines_of(path), "") for mark in ",;\t|")
    except FEAError:
        return False


def _faces(source: Source) -> Faces:
    if not source.path.is_file():
        raise FEAError(f"'{source.path}' is no file; name the table in it")
    table = Table(source.path)
    columns = Columns(str(source.path), table.columns, source)
    columns.look(_whole(table))
    for line, row in table:
        if row is None:
            yield Dropped(
                "the row has another number of cells than there are columns", f"row {line} of '{source.path}'"
            )
        else:
            yield columns.face(line, row)


def _whole(table: Table) -> Iterator[Mapping[str, str]]:
    return (row for _, row in table if row is not None)


FORMAT = Format("csv", "a table (CSV)", _faces, _recognizes)
