"""Writes converted faces as JSON lines, with images from within tables beside them, and counts what became of all rows."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from fea.datasets.analyses import Choice, plain_analysis
from fea.datasets.conversion import Dropped, Face
from fea.datasets.images import suffix_of
from fea.errors import FEAError
from fea.system.files import try_place, whole
from fea.system.sets import together

_REASONS = 1000  # different reasons that are told apart
_OUTSIDE = "the image lies outside the folder of the images"
_REPEATED = "the row says what an earlier one has said"
_CONTRADICTS = "an earlier row says something else of this image"


class Tally:
    """What became of the rows."""

    def __init__(self) -> None:
        self.faces = self.coded = self.described = 0
        self.dropped: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.labels: Counter[str] = Counter()
        self.splits: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.people: set[int] = set()  # hashes: a million names would cost ten times the memory

    @property
    def rows(self) -> int:
        """All that were read."""
        return self.faces + sum(self.dropped.values())

    def drop(self, row: Dropped) -> None:
        """Counts rows that became no face."""
        known = row.reason in self.dropped or len(self.dropped) < _REASONS
        reason = row.reason if known else "other reasons"
        self.dropped[reason] += row.rows
        self.first.setdefault(reason, row.place)

    def count(self, face: Face) -> None:
        """Counts a face."""
        self.faces += 1
        self.coded += face.AUs is not None
        self.described += bool(face.description)
        self.labels.update(face.labels)
        self.splits.update([face.meta["split"]] if "split" in face.meta else [])
        self.people.update([hash(face.meta["subject"])] if "subject" in face.meta else [])
        self.sources.update([str(face.meta["source"])] if "source" in face.meta else [])


def check_place(out: Path) -> None:
    """Refuses a place that is taken.

    Raises:
        FEAError: the file or the folder of its images is there.
        OSError: there is no room, or no permission.
    """
    for place in (out, image_folder(out)):
        if place.exists() or place.is_symlink():
            raise FEAError(f"out: '{place}' exists; choose another name, or remove it")
    try_place(out)


def image_folder(out: Path) -> Path:
    """Where the images of a file go that came within a table."""
    return out.with_name(f"{out.stem}_images")


class Records:
    """Faces as the objects of lines; iterating runs through the rows once and fills the tally.

    Args:
        rows: of a converter.
        dataset: value of the key of that name; "" for none.
        out: the file that the paths of the images are relative to, if they lie in its folder.
        images: the folder that they are relative to otherwise.
        limit: most faces that are taken; None for all.
        write: whether images from within tables are written.

    Attributes:
        tally: of what was read so far.
        root: folder that the paths of the images are relative to.
    """

    def __init__(
        self, rows: Iterable[Face | Dropped], dataset: str, out: Path, images: Path, limit: int | None, write: bool
    ):
        self.rows, self.dataset, self.out, self.limit, self.write = rows, dataset, out, limit, write
        self.home, inner = os.path.abspath(out.parent), os.path.abspath(images)
        near = os.path.commonpath([self.home, inner]) == self.home
        self.root = self.home if near else inner
        self.tally = Tally()
        self._ids: set[int] = set()
        self._said: dict[int, int] = {}  # by image, its labels: hashes, for a million images are many names

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with ExitStack() as stack:
            yield from islice(self._records(stack), self.limit)

    def _records(self, stack: ExitStack) -> Iterator[dict[str, Any]]:
        folder: Path | None = None
        for row in self.rows:
            if isinstance(row, Dropped):
                self.tally.drop(row)
                continue
            if isinstance(row.image, bytes):
                self.root = self.home
                if folder is None and self.write:
                    folder = stack.enter_context(together(image_folder(self.out), "images"))
                name = f"{self.tally.faces:06d}{suffix_of(row.image)}"
                if folder:
                    _write(f"{folder}/{name}", row.image)
                path: str | None = f"{image_folder(self.out).name}/{name}"
            else:
                path = self._relative(row.image)
            if path is None:
                self.tally.drop(Dropped(_OUTSIDE, str(row.image)))
            elif why := self._repeats(row, path):
                self.tally.drop(Dropped(why, path))
            else:
                self.tally.count(row)
                yield self._record(row, path)

    def _relative(self, image: str) -> str | None:
        start = f"{self.root.rstrip(os.sep)}{os.sep}"
        return image[len(start) :].replace(os.sep, "/") if image.startswith(start) else None

    def _repeats(self, face: Face, path: str) -> str | None:
        said = hash((face.labels, face.AUs, face.AUs_coded, face.description))
        if hash(path) not in self._said:
            self._said[hash(path)] = said
            return None
        earlier = self._said[hash(path)]
        return _REPEATED if earlier == said else _CONTRADICTS

    def _record(self, face: Face, image: str) -> dict[str, Any]:
        name = face.id if hash(face.id) not in self._ids else f"{face.id}-{self.tally.faces}"  # parts may count alike
        self._ids.add(hash(name))
        fields = {
            "id": name,
            "dataset": self.dataset if face.dataset is None else face.dataset,
            "image": image,
            "question": face.question,
            "AUs": None if face.AUs is None else list(face.AUs),
            "AUs_coded": None if face.AUs_coded is None else list(face.AUs_coded),
            "labels": list(face.labels),
            "AU_intensities": dict(face.intensities),
            "valence": face.valence,
            "arousal": face.arousal,
            "description": face.description,
            "meta_info": dict(face.meta),
        }
        return {key: value for key, value in fields.items() if value not in (None, "", {})}


def _write(file: str, content: bytes) -> None:
    """A small file, with as few calls of the system as can be: a hundred thousand of them are a matter of seconds."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        written = os.write(handle, content)
        while written < len(content):
            written += os.write(handle, content[written:])
    finally:
        os.close(handle)


def write(records: Records, out: Path, analyses: int = 0) -> int:
    """Writes the file, whole or not at all; the images that it names are there before it.

    Args:
        records: to be written.
        out: the file.
        analyses: how many lines get a plain analysis from their labels.

    Returns:
        How many got one.

    Raises:
        FEAError: no row became a face.
    """
    choice = Choice(analyses)
    with whole(out) as stream, TemporaryFile(dir=out.parent) as passing:
        first = passing if analyses else stream
        for number, record in enumerate(records):
            choice.offer(number, record)
            first.write(line(record))
        if not records.tally.faces:
            raise FEAError(nothing_left(records.tally))
        chosen = choice.chosen()
        passing.seek(0)
        for number, written in enumerate(passing):
            stream.write(_described(written) if number in chosen else written)
    records.tally.described += len(chosen)
    return len(chosen)


def _described(written: bytes) -> bytes:
    record = json.loads(written)
    meta = {**record.pop("meta_info", {}), "analysis": "from labels"}
    return line({**record, "description": plain_analysis(record), "meta_info": meta})


def line(record: dict[str, Any]) -> bytes:
    """A record as a line."""
    return (json.dumps(record, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def run_through(records: Records) -> None:
    """Counts what would be written, and writes nothing.

    Raises:
        FEAError: no row became a face.
    """
    for _ in records:
        pass
    if not records.tally.faces:
        raise FEAError(nothing_left(records.tally))


def nothing_left(tally: Tally) -> str:
    """What to say when no row became a face."""
    if not tally.rows:
        return "the source holds no row"
    reason, count = tally.dropped.most_common(1)[0]
    advice = "; name their folder with --image_root" if "not there" in reason else ""
    return f"none of {tally.rows} rows became a face; of {count} {reason} (the first: {tally.first[reason]}){advice}"
