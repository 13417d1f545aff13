"""What a run remembers its data by, so that it does not go on with others: a digest of each thing that a line says."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fea.data.table import Table

# Columns of a table by what they are; in the order in which a difference is told, since one brings about those after it.
_COLUMNS = {
    "labels": ("AUs", "AUs_coded", "labels", "AU_intensities", "valence", "arousal"),
    "analyses": ("analysis",),
    "questions": ("question",),
    "images": ("image",),
}
_TOLD = {
    "faces": "holds other faces",
    "order": "holds its faces in another order",
    "labels": "has other labels",
    "analyses": "has other analyses",
    "questions": "has other questions",
    "images": "names other images",
    "sources": "weighs its files otherwise, or allows other emotions",
}


def identity(tables: Sequence[Table]) -> dict[str, str]:
    """A digest of each kind of thing that the tables say, together; three seconds for a million lines.

    Args:
        tables: as they are read one after the other.
    """
    order, faces, lines = hashlib.sha256(), 0, 0
    for names in _texts(tables, ("dataset", "id")):
        order.update("\n".join([*names, ""]).encode())
        faces += sum(zlib.crc32(name.encode()) for name in names)  # a sum does not know the order
        lines += len(names)
    found = {"faces": f"{lines}-{faces:x}", "order": order.hexdigest()[:32]}
    for kind, columns in _COLUMNS.items():
        digest = hashlib.sha256()
        for texts in _texts(tables, columns):
            digest.update("\n".join([*texts, ""]).encode())
        found[kind] = digest.hexdigest()[:32]
    sources = [f"{len(table)} {table.weight} {' '.join(table.emotions)}" for table in tables]
    return {**found, "sources": hashlib.sha256("\n".join(sources).encode()).hexdigest()[:32]}


def changed(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The first thing in which data differ, as words to follow the name of a set; "" if they are the same."""
    return next((told for kind, told in _TOLD.items() if then.get(kind) != now.get(kind)), "")


def _texts(tables: Sequence[Table], columns: Sequence[str]) -> Iterator[list[str]]:
    """Lines of some columns as texts, a part of a table at a time: a million of them need not fit into memory."""
    for table in tables:
        for batch in table.rows.data.to_batches():
            parts = [_text(batch.column(name)) for name in columns]
            yield pc.binary_join_element_wise(*parts, "\x1f").to_pylist()


def _text(column: pa.Array) -> pa.Array:
    """A column as texts; what is not known differs from what is empty."""
    if pa.types.is_floating(column.type):
        numbers = np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
        return pa.array(map(repr, numbers.tolist()), pa.string())
    if pa.types.is_list(column.type):
        column = pc.binary_join(column, "\x1e")
    return pc.fill_null(column, "\x00")
