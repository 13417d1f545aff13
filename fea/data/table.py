"""A data file as a table. It is validated once, line by line, into an Arrow file that is memory-mapped from then on.

The Arrow file stands in the cache folder of `datasets` and is rebuilt when the JSONL changes, so a million lines cost their
minute once, and no memory ever.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fea.data.example import Example, Rejected
from fea.data.source import OnBad
from fea.errors import FEAError
from fea.facs import au_number
from fea.records.doubts import Doubts
from fea.records.formats import expect_lines
from fea.records.jsonl import read_lines
from fea.records.record import Record, Rules
from fea.records.unknown import coded_in, coded_of
from fea.system.files import naming, write_atomically

_VERSION = 5  # of the columns below: older Arrow files are rebuilt
_BATCH = 10_000  # lines held in memory at once
_REMEMBERED = 20  # refused lines kept with their reasons; the others are counted

_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "dataset", "image", "question")),
        *((name, pa.list_(pa.string())) for name in ("AUs", "AUs_coded", "labels")),
        *((name, pa.string()) for name in ("analysis", "AU_intensities")),
        *((name, pa.float64()) for name in ("valence", "arousal")),
        ("meta_info", pa.string()),  # free-form, so kept as JSON text: Arrow would force one schema on all lines
        ("rejected", pa.string()),
        ("line", pa.int64()),
        ("key", pa.string()),
    ]
)
assert tuple(_SCHEMA.names) == Record._fields


@dataclass
class Summary:
    """What came of reading a file.

    Attributes:
        lines: lines with content.
        kept: lines that became records.
        invalid: lines that mark themselves as invalid.
        wrapped: descriptions that had no tags and got them.
        refused: lines that could not be read.
        reasons: the first of these, each with file and line.
        labeled: records with a known emotion.
        coded: records with coded Action Units.
        analysed: records with an analysis.
        occurring: by data set, the FACS numbers that occur in it, present or coded.
        warnings: what the file says that is not read, says nothing, or contradicts itself.
    """

    lines: int = 0
    kept: int = 0
    invalid: int = 0
    wrapped: int = 0
    refused: int = 0
    reasons: list[str] = field(default_factory=list)
    labeled: int = 0
    coded: int = 0
    analysed: int = 0
    occurring: dict[str, list[int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def told(self) -> str:
        """The summary as one line."""
        parts = [f"{self.kept} examples"]
        if self.wrapped:
            parts.append(f"{self.wrapped} descriptions wrapped in tags")
        if self.invalid:
            parts.append(f"{self.invalid} lines marked invalid")
        if self.refused:
            parts.append(f"{self.refused} bad lines skipped, the first: {self.reasons[0]}")
        return "; ".join(parts)


class Table:
    """An opened file: its records, memory-mapped, as `Example`s.

    Attributes:
        copy: the converted file.
        weight: how often its examples are drawn in training, relative to those of other files.
        chosen: (examples,) which of them are used, such as those of a fold; None for all.
        overlap: whether it may share people and images with files that are learned from.
    """

    weight = 1.0
    chosen: NDArray[np.bool_] | None = None
    overlap = False

    def __init__(self, path: Path, rows: datasets.Dataset, summary: Summary, image_root: Path, rules: Rules):
        self.path, self.rows, self.summary = path, rows, summary
        self.copy = Path(rows.cache_files[0]["filename"])
        self.image_root, self.emotions = image_root, rules.emotions
        self._coded = {name: coded_in(name, aus) for name, aus in summary.occurring.items()}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        row = Record(**self.rows[index])
        present = None if row.AUs is None else frozenset(row.AUs)
        return Example(
            id=row.id,
            dataset=row.dataset,
            image=str(self.image_root / row.image),
            place=f"{self.path}:{row.line}",
            question=row.question,
            aus=present,
            coded=coded_of(row, self._coded),
            labels=tuple(row.labels),
            emotions=self.emotions,
            analysis=row.analysis,
            intensities=json.loads(row.AU_intensities),
            valence=row.valence,
            arousal=row.arousal,
            meta=row.meta_info,
            rejected=self._rejected(row.rejected),
        )

    def _rejected(self, told: str | None) -> Rejected | None:
        if told is None:
            return None
        parts = Rejected(**json.loads(told))
        return parts._replace(image=parts.image and str(self.image_root / parts.image))

    def column(self, name: str) -> list[Any]:
        """One field of all records, without building the examples."""
        return list(self.rows.data.column(name).to_pylist())

    def known(self, name: str) -> NDArray[np.bool_]:
        """Which records have a field, without reading its values: a million analyses need not fit into memory."""
        return np.asarray(self.rows.data.column(name).is_valid().to_numpy())

    def codes(self, name: str) -> NDArray[np.int64]:
        """A number for each record, the same where a field of text or of texts is the same, without reading its values."""
        column = self.rows.data.column(name)
        texts = pc.binary_join(column, "\0") if pa.types.is_list(column.type) else column
        encoded = pc.dictionary_encode(texts, null_encoding="encode").unify_dictionaries()
        return np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int64)

    def longest(self, name: str) -> str:
        """The longest text that any record has in a field; "" if none has one."""
        texts = self.rows.data.column(name)
        letters = pc.utf8_length(texts)
        most = pc.max(letters)
        return str(texts[pc.index(letters, most).as_py()]) if most.is_valid else ""


def open_jsonl(file: Path, image_root: Path, rules: Rules, on_bad: OnBad) -> Table:
    """Opens a data file; validates and converts it first if that has not been done since it last changed.

    Args:
        file: one JSON object a line.
        image_root: folder that the image paths are relative to.
        rules: how to read the lines.
        on_bad: "raise" at the first line that cannot be read, or "skip" and count them.

    Raises:
        FEAError: the file is missing, holds no usable line, or (with on_bad "raise") has a bad line.
    """
    expect_lines(file)
    rules = rules.within(image_root)
    key = hashlib.sha256(json.dumps([str(file.resolve()), rules, on_bad]).encode()).hexdigest()[:32]
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "fea"
    arrow, sidecar = folder / f"{key}.arrow", folder / f"{key}.json"
    state = [_VERSION, *_state(file)]
    rows, summary = _stored(arrow, sidecar, state) or (None, Summary())
    if rows is None:
        folder.mkdir(parents=True, exist_ok=True)
        summary = _convert(file, rules, on_bad, arrow)
        told = {"state": state, "arrow": _state(arrow), "summary": asdict(summary)}
        write_atomically(sidecar, json.dumps(told).encode())
    if not summary.kept:
        why = f"; the first reason: {summary.reasons[0]}" if summary.reasons else ""
        raise FEAError(f"data file '{file}' holds no usable line{why}")
    return Table(file, rows or datasets.Dataset.from_file(str(arrow)), summary, image_root, rules)


def _state(file: Path) -> list[int]:
    """Changes with every change of a file, of one that keeps its size and is given its old time, too."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _stored(arrow: Path, sidecar: Path, state: list[int]) -> tuple[datasets.Dataset, Summary] | None:
    """The converted copy; None if there is none of this state of the file, or something has happened to it."""
    try:
        stored = json.loads(sidecar.read_bytes())
        if stored["state"] == state and stored["arrow"] == _state(arrow):
            return datasets.Dataset.from_file(str(arrow)), Summary(**stored["summary"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        pass
    return None


def _convert(file: Path, rules: Rules, on_bad: OnBad, arrow: Path) -> Summary:
    summary = Summary()
    temporary = arrow.with_suffix(f".{os.getpid()}.part")
    try:
        with naming(arrow), pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
            for batch in _batches(_kept(file, rules, on_bad, summary)):
                columns = dict(zip(Record._fields, map(list, zip(*batch, strict=True)), strict=True))
                writer.write_batch(pa.RecordBatch.from_pydict(columns, _SCHEMA))
        os.replace(temporary, arrow)
    finally:
        temporary.unlink(missing_ok=True)
    return summary


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _kept(file: Path, rules: Rules, on_bad: OnBad, summary: Summary) -> Iterator[Record]:
    """The good records of a file; fills the summary on the way."""
    occurring: dict[str, set[str]] = defaultdict(set)
    doubts = Doubts(rules)
    for _, raw, record in read_lines(file, rules):
        summary.lines += 1
        if isinstance(record, FEAError):
            if on_bad == "raise":
                raise FEAError(f"{record}; mend the line, or set 'on_bad: skip'") from None
            summary.refused += 1
            summary.reasons += [str(record)] if len(summary.reasons) < _REMEMBERED else []
        elif record is None:
            summary.invalid += 1
        else:
            summary.kept += 1
            summary.labeled += bool(record.labels)
            summary.coded += record.AUs is not None
            summary.analysed += record.analysis is not None
            summary.wrapped += record.analysis is not None and record.analysis != raw["description"]
            doubts.add(raw, record)
            occurring[record.dataset].update(record.AUs or (), record.AUs_coded or ())
            yield record
    summary.occurring = {name: sorted(set(map(au_number, codes))) for name, codes in occurring.items()}
    summary.warnings = doubts.told({name: coded_in(name, aus) for name, aus in summary.occurring.items()})
