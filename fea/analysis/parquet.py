"""Answers as a Parquet table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from fea.analysis.layout import TEXTS, WHOLE
from fea.system.files import whole
from fea.system.lines import lines_of

_ROWS = 4096  # of a group, which is held in memory: 20 MB of texts


def write_parquet(file: Path, lines: Path, header: Sequence[str]) -> None:
    """Writes a table, whole or not at all; the type of a column does not depend on what is in it.

    Args:
        file: where.
        lines: a JSON list of cells for each row.
        header: names of the columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _kind(pa, name)) for name in header])
    rows = lines_of(lines)
    with whole(file) as stream, pq.ParquetWriter(stream, schema) as writer:
        while some := list(islice(rows, _ROWS)):
            columns = [
                pa.array(column, field.type) for column, field in zip(zip(*some, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.table(columns, schema=schema))


def _kind(pa: Any, name: str) -> Any:
    if name in TEXTS:
        return pa.string()
    if name == "valid":
        return pa.bool_()
    return pa.int64() if name in WHOLE else pa.float64()
