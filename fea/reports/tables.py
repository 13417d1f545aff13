"""Rows as text: for the screen with their columns aligned, for data cards as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def plain(layout: str, rows: Iterable[Sequence[object]]) -> str:
    """Rows under one layout, a line each.

    Args:
        layout: of a line, as for `str.format`, such as "{:<28}{:>8}": a wide column for names, then a number.
        rows: cells; the header, if there is one, is the first of them.
    """
    return "\n".join(layout.format(*row) for row in rows)


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with columns as wide as their widest cell, the first to the left, all others to the right.

    Args:
        header: heads of the columns; a rule stands below them.
        rows: cells, as many in each row.
    """
    first, *others = (max(map(len, column)) for column in zip(header, *rows, strict=True))
    layout = "  ".join([f"{{:<{first}}}", *(f"{{:>{width}}}" for width in others)])
    heads = layout.format(*header)
    return "\n".join([heads, "-" * len(heads), *([plain(layout, rows)] if rows else [])])


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown.

    Args:
        header: heads of the columns.
        rows: cells, as many in each row.
    """
    rules = "---|" * len(header)
    return "\n".join([_row(header), f"|{rules}", *map(_row, rows)])


def _row(cells: Iterable[object]) -> str:
    """A line of Markdown; a bar within a cell would begin the next one, a line break would end the table."""
    texts = [" ".join(str(cell).split()).replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(texts)} |"
