"""What files have to hold for a run to make sense, before it learns or measures anything."""

from __future__ import annotations

from collections.abc import Sequence

from fea.data.table import Table
from fea.errors import FEAError


def expect_something_to_learn(tables: Sequence[Table]) -> None:
    """Refuses a file from which nothing is understood, before a run learns from it to write and nothing else.

    Raises:
        FEAError: there is such a file.
    """
    for table in tables:
        if not (table.summary.labeled or table.summary.coded or table.summary.analysed):
            raise FEAError(
                f"data.train: no label and no analysis is understood in '{table.path}'{_hint(table)}; give 'labels', 'AUs' or "
                "'description' to its lines, or leave it out"
            )


def expect_labels(name: str, tables: Sequence[Table]) -> None:
    """Refuses files that nothing can be measured on.

    Args:
        name: "val" or "test".
        tables: its files.

    Raises:
        FEAError: no line of theirs has a label.
    """
    if tables and not any(table.summary.labeled or table.summary.coded for table in tables):
        files = ", ".join(f"'{table.path}'" for table in tables)
        raise FEAError(
            f"data.{name}: no label is understood in {files}{_hint(tables[0])}; give 'labels' or 'AUs' to the lines that "
            "answers are measured on"
        )


def _hint(table: Table) -> str:
    return f" ({table.summary.warnings[0]})" if table.summary.warnings else ""
