"""Keeps files apart that are learned from and measured on: before a run, and once for each state of the files."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from fea.data.overlap import Side, Thumbnails, overlap, people_in
from fea.data.table import Table
from fea.errors import FEAError
from fea.system.files import write_atomically

_VERSION = 1  # of what is compared


def expect_apart(
    name: str, first: Sequence[Table], second: Sequence[Table], thumbnails: Mapping[Path, Thumbnails], most_pixels: int
) -> None:
    """Refuses files that share people or images with those that are learned from.

    Args:
        name: of the set that is measured on, "val" or "test".
        first: files that are learned from.
        second: those of the set, without any that may share them.
        thumbnails: by the converted copy of a file, those of its images.
        most_pixels: that an image may have.

    Raises:
        FEAError: they do.
    """
    for judged in second:
        for learned in first:
            done = _remembered(learned, judged)
            if done.exists():
                continue
            first_side, second_side = (side_of(table, thumbnails.get(table.copy, {})) for table in (learned, judged))
            found = overlap(first_side, second_side, most_pixels)
            if told := found.told(str(learned.path), str(judged.path)):
                raise FEAError(
                    f"data.{name}: {'; and '.join(told)}: they say nothing about new faces; take them out of one of the files, "
                    f"or, if it is meant so, name the file as {{file: {judged.path}, overlap: true}}"
                )
            with suppress(OSError):  # a cache that is only read
                write_atomically(done, b"nothing in common\n")


def side_of(table: Table, thumbnails: Thumbnails) -> Side:
    """A file, as far as its examples are chosen, as a side of a split."""
    columns = zip(*(table.column(name) for name in ("line", "image", "dataset", "meta_info")), strict=True)
    rows = [*columns] if table.chosen is None else [*itertools.compress(columns, table.chosen)]
    images: dict[str, str] = {}
    for line, image, *_ in rows:
        images.setdefault(str(table.image_root / image), f"{table.path}:{line}")
    people = people_in((dataset, meta, f"{table.path}:{line}") for line, _, dataset, meta in rows)
    return Side(str(table.path), people, images, {image: t for image, t in thumbnails.items() if image in images})


def _remembered(first: Table, second: Table) -> Path:
    """The file that is there if these two were found to have nothing in common."""
    state = [_VERSION, *(_state(table) for table in (first, second))]
    return first.copy.with_name(f"{hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]}.apart")


def _state(table: Table) -> tuple[str, int, str]:
    """What a file and the choice of its examples are known by."""
    chosen = "" if table.chosen is None else hashlib.sha256(table.chosen.tobytes()).hexdigest()
    return str(table.copy), table.copy.stat().st_mtime_ns, chosen
