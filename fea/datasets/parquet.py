"""Parquet files, as they are shared on the hub; images may stand within them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fea.datasets.conversion import Faces, Format, Source
from fea.datasets.own_table import Columns
from fea.errors import FEAError

_ROWS = 100  # held in memory at once: images of a photograph's size take some megabytes each


def _recognizes(path: Path) -> bool:
    return bool(_files(path))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix.lower() == ".parquet")
    with path.open("rb") as stream:
        return [path] if stream.read(4) == b"PAR1" else []


def _faces(source: Source) -> Faces:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = _files(source.path)
    if not files:
        raise FEAError(f"'{source.path}' is no Parquet file and no folder of some; check the path")
    try:
        schema = pq.read_schema(files[0])
        columns = Columns(str(source.path), schema.names, source, ())
        columns.classes = columns.classes or _classes(schema.metadata or {}, columns.of.get("labels", ""))
        columns.look(_rows(files, list(columns.flags)))
        for line, row in enumerate(_rows(files, schema.names), 1):
            yield columns.face(line, row)
    except pa.ArrowException as error:
        raise FEAError(f"'{source.path}' cannot be read ({str(error).splitlines()[0]}); fetch it again") from None


def _rows(files: list[Path], columns: list[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    for file in files if columns else []:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=_ROWS, columns=columns):
                yield from batch.to_pylist()


def _classes(metadata: dict[bytes, bytes], column: str) -> tuple[str, ...]:
    """What the numbers of a column mean, which the library of Hugging Face writes into its Parquet files."""
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][column]
        return tuple(feature["names"])
    except (KeyError, ValueError, TypeError):
        return ()


FORMAT = Format("parquet", "a Parquet table", _faces, _recognizes)
