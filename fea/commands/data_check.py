"""`fea data check`: what is in a data file, and what is wrong with it, in one pass and little memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fea.data.record import Record

_SHOWN = 10  # problems of a kind that are listed


class _Tally:
    """Counts over the lines of one file."""

    def __init__(self) -> None:
        self.lines = self.kept = self.invalid = self.coded = self.labeled = self.analysed = self.wrapped = (
            self.conflicts
        ) = 0
        self.aus: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.ids: set[int] = set()
        self.twice: list[str] = []
        self.problems: list[str] = []
        self.missing: list[str] = []

    def add(self, record: Record, place: str, root: Path) -> None:
        from fea.facs import CONFLICTS, au_number

        self.kept += 1
        self.coded += record.AUs is not None
        self.labeled += bool(record.labels)
        self.analysed += record.analysis is not None
        self.aus.update(record.AUs or ())
        self.labels.update(record.labels)
        numbers = {au_number(code) for code in record.AUs or ()}
        self.conflicts += any(a in numbers and b in numbers for a, b in CONFLICTS)
        if not (root / record.image).is_file():
            self.missing.append(f"{place}: image '{root / record.image}' does not exist")
        if hash(record.id) in self.ids:  # hashes: a million ids would cost ten times the memory
            self.twice.append(f"{place}: id '{record.id}' occurs twice")
        self.ids.add(hash(record.id))


def check_file(
    file: Path, image_root: Path | None = None, emotions: str | list[str] = "basic7", as_is: bool = False
) -> int:
    """Counts what is in a data file and lists what is wrong with it.

    Args:
        file: JSONL in FEA-20K format.
        image_root: folder of its images; by default the folder of the file.
        emotions: allowed emotions: "basic7", "basic8", "compound11" or a list.
        as_is: take descriptions as they stand; otherwise those without think and answer tags get them.

    Returns:
        0, or 2 if a line or an image cannot be read.

    Raises:
        FEAError: the file does not exist.
    """
    from fea.data.jsonl import read_lines
    from fea.data.record import Rules
    from fea.errors import FEAError
    from fea.facs import emotion_set

    if not file.is_file():
        raise FEAError(f"data file '{file}' does not exist")
    root, tally, rules = image_root or file.parent, _Tally(), Rules(emotion_set(emotions), "raise", wrap=not as_is)
    for line, raw, record in read_lines(file, rules):
        tally.lines += 1
        if isinstance(record, FEAError):
            tally.problems.append(str(record))
        elif record is None:
            tally.invalid += 1
        else:
            tally.add(record, f"{file}:{line}", root)
            tally.wrapped += record.analysis is not None and record.analysis != raw["description"]
    print(_report(file, tally))
    return 2 if tally.problems or tally.missing else 0


def _report(file: Path, t: _Tally) -> str:
    from fea.facs import ACTION_UNITS, au_number
    from fea.reports import tables

    def share(count: int) -> str:
        return f"{count} ({100 * count / max(1, t.kept):.0f} %)"

    codes = sorted((au_number(code), code) for code in t.aus)
    lines = [
        f"{file}: {t.lines} lines, {t.kept} usable, {len(t.problems)} bad, {t.invalid} marked invalid",
        f"emotion known: {share(t.labeled)}",
        tables.plain("  {:<20} {}", t.labels.most_common()),
        f"Action Units coded: {share(t.coded)}",
        tables.plain("  {:<6} {:<22} {}", [(code, ACTION_UNITS[unit].name, t.aus[code]) for unit, code in codes]),
        f"analyses: {share(t.analysed)}, of which {t.wrapped} get think and answer tags",
    ]
    if t.conflicts:
        lines.append(f"warning: {t.conflicts} faces carry units that no still face shows together")
    for title, found in (("bad lines", t.problems), ("missing images", t.missing), ("repeated ids", t.twice)):
        if found:
            more = [f"  ... and {len(found) - _SHOWN} more"] * (len(found) > _SHOWN)
            lines += [f"{title}: {len(found)}", *(f"  {problem}" for problem in found[:_SHOWN]), *more]
    return "\n".join(filter(None, lines))  # a table without rows is no line
