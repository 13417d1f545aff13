"""What a conversion tells when it is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fea.datasets.conversion import Format, Source
    from fea.datasets.writing import Records

_SHOWN = 10  # reasons that are listed


def told(found: Format, source: Source, records: Records, out: Path, guessed: bool, dry_run: bool) -> Iterator[str]:
    """What was done, what was left out, and what comes next, a sentence a line.

    Args:
        found: the format of the source.
        source: that was converted.
        records: as they were written.
        out: the file that they were written to.
        guessed: whether nobody has named the format.
        dry_run: whether nothing was written.
    """
    import os

    from fea.data.source import told_root
    from fea.facs import EMOTION_SETS
    from fea.reports import tables

    tally = records.tally
    if guessed:
        yield f"took '{source.path}' for {found.told} ({found.name})"
    yield f"{out}: {tally.faces} faces of {tally.rows} rows" + "; a dry run, nothing was written" * dry_run
    yield from filter(None, [tables.plain("  {:<20} {}", tally.labels.most_common())])
    yield f"Action Units coded: {tally.coded}; analyses: {tally.described}"
    if tally.people:
        yield f"people: {len(tally.people)}"
    if tally.splits:
        yield "split: " + ", ".join(f"{name} {count}" for name, count in sorted(tally.splits.items()))
    if tally.dropped:
        yield f"left out: {sum(tally.dropped.values())} rows"
        for reason, count in tally.dropped.most_common(_SHOWN):
            yield f"  {count} x {reason} (the first: {tally.first[reason]})"
        if len(tally.dropped) > _SHOWN:
            yield f"  ... and {len(tally.dropped) - _SHOWN} more reasons"
    yield from (f"note: {note}" for note in source.notes)
    if records.root != os.path.abspath(out.parent):
        yield told_root(records.root, {"train": out})
    root = f" --image_root '{records.root}'" if records.root != os.path.abspath(out.parent) else ""
    preset = "" if set(tally.labels) <= set(EMOTION_SETS["basic7"]) else " --emotions basic8"
    if not dry_run:
        yield f"next: fea data check '{out}'{root}{preset}"
