"""Label files as people have them: any delimiter, line end and encoding, blanks around names, values that say nothing."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

from fea.datasets.signs import Sign, sign_of
from fea.errors import FEAError
from fea.records.missing import unknown

# What coders write for "not coded": BP4D 9, tables of statistics 99 and 999, others numbers below zero.
_NOT_CODED = frozenset((9.0, 99.0, 999.0, 9999.0))
_HEAD = 40  # lines that are looked at: the first object of a list may be spread over many
_DELIMITERS = ",;\t|"
_LISTED = 8  # names that stand in a message
_CELL = 1 << 24  # characters of a cell: the pixels of an image take a few thousand


def lines_of(file: Path) -> Iterator[str]:
    """The lines of a text file, with their ends. UTF-8 or UTF-16 by its mark; a line that is no UTF-8 is read as Windows text.

    Raises:
        FEAError: it is no text, or is not there.
    """
    if not file.is_file():
        raise FEAError(f"'{file}' {'is no file' if file.exists() else 'does not exist'}; check the path")
    with file.open("rb") as stream:
        head = stream.read(4096)
    wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not wide and b"\0" in head:
        raise FEAError(f"'{file}' is no text; give the file with the labels")
    with file.open(encoding="utf-16" if wide else "utf-8-sig", errors="surrogateescape", newline="") as text:
        for line in text:
            try:
                line.encode()
                yield line
            except UnicodeEncodeError:
                yield line.encode("utf-8", "surrogateescape").decode("cp1252", "replace")


def shows(file: Path) -> Sign | None:
    """What the first lines of a file show of where it comes from; None for one that is no text, too."""
    try:
        return sign_of("".join(islice(lines_of(file), _HEAD)))
    except FEAError:
        return None


class Table:
    """A table of text with named columns; iterating gives the number of each row, from 1, and its cells by column.

    A row with another number of cells than there are columns comes as None.

    Args:
        file: to be read.
        columns: names, for a file without a first line that has them.

    Attributes:
        columns: names without the blanks around them, as the file spells them.
    """

    def __init__(self, file: Path, columns: tuple[str, ...] = ()):
        self.file = file
        csv.field_size_limit(_CELL)
        first = next(self._lines(), None)
        if first is None:
            raise FEAError(f"'{file}' is empty")
        self.delimiter = max(_DELIMITERS, key=first.count)  # the first of them where none occurs
        named = [cell.strip() for cell in next(csv.reader([first], delimiter=self.delimiter, skipinitialspace=True))]
        self.headed = not columns or [name.lower() for name in named[: len(columns)]] == [c.lower() for c in columns]
        self.columns = named if self.headed else list(columns)
        if len(set(self.columns)) < len(self.columns):
            twice = next(name for name in self.columns if self.columns.count(name) > 1)
            raise FEAError(f"'{file}' has two columns '{twice}'; rename one of them")

    def _lines(self) -> Iterator[str]:
        """The lines from the first that is neither blank nor a comment on."""
        lines = lines_of(self.file)
        for line in lines:
            if line.strip() and not line.startswith("#"):
                return chain((line,), lines)
        return iter(())

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, str] | None]]:
        rows = csv.reader(self._lines(), delimiter=self.delimiter, skipinitialspace=True)
        if self.headed:
            next(rows, None)
        for number, cells in enumerate((row for row in rows if any(map(str.strip, row))), 1):
            whole = len(cells) == len(self.columns)
            yield number, dict(zip(self.columns, map(str.strip, cells), strict=True)) if whole else None

    def column(self, *names: str) -> str | None:
        """The first column that is called like one of the names, whatever its case; None if there is none."""
        by_name = {column.lower(): column for column in self.columns}
        return next((by_name[name.lower()] for name in names if name.lower() in by_name), None)

    def needed(self, *names: str) -> str:
        """Like `column`.

        Raises:
            FEAError: there is none.
        """
        found = self.column(*names)
        if found is None:
            raise FEAError(f"'{self.file}' has no column '{names[0]}'; its columns are {listed(self.columns)}")
        return found


def listed(names: Sequence[str]) -> str:
    """Names such as those of columns, of many the first: "image, emotion and 11 more"."""
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if names[_LISTED:] else "")


def number(cell: str) -> float | None:
    """A number, with a comma or a point; None for a cell that says nothing.

    Raises:
        ValueError: it is something else.
    """
    try:
        value = float(cell)
    except ValueError:
        if unknown(cell):
            return None
        try:
            value = float(cell.replace(",", "."))
        except ValueError:
            raise ValueError(f"'{cell}' is no number") from None
    return value if math.isfinite(value) else None


def grade(cell: str) -> float | None:
    """The value of a unit, 0 to 5; None if it was not coded: blank, NaN, 9, 99, 999, or below zero.

    Raises:
        ValueError: it is something else.
    """
    value = number(cell)
    if value is None or value < 0 or value in _NOT_CODED:
        return None
    if value > 5:
        raise ValueError(f"'{cell}' is no grade from 0 to 5")
    return value


def code(cell: str) -> int | None:
    """The number of a class, as "3", "3.0" or "   3.0000000e+00"; None for anything else."""
    try:
        value = number(cell)
    except ValueError:
        return None
    return int(value) if value is not None and value == int(value) else None


def named(cell: str, names: Mapping[int, str]) -> str | None:
    """What the number of a class stands for; None if it stands for nothing."""
    value = code(cell)
    return None if value is None else names.get(value)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts names as people do: "frame2" before "frame10"."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name))
