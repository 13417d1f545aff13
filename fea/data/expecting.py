"""What a set of files has to hold for a command, found out before the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lightning.pytorch.utilities import rank_zero_info

from fea.data.image_check import look_once
from fea.data.overlap import Thumbnails
from fea.data.source import OnBad, option
from fea.data.table import Table
from fea.errors import FEAError


def expect_something_to_learn(tables: Sequence[Table]) -> None:
    """Refuses a file from which nothing is understood, before a run learns from it to write and nothing else.

    Raises:
        FEAError: naming the file.
    """
    for table in tables:
        if not (table.summary.labeled or table.summary.coded or table.summary.analysed):
            raise FEAError(
                f"data.train: no label and no analysis is understood in '{table.path}'{_hint(table)}; give 'labels', 'AUs' or "
                "'description' to its lines, or leave it out"
            )


def expect_labels(name: str, tables: Sequence[Table]) -> None:
    """Refuses files that nothing can be measured on.

    Raises:
        FEAError: naming them.
    """
    if tables and not any(table.summary.labeled or table.summary.coded for table in tables):
        files = ", ".join(f"'{table.path}'" for table in tables)
        raise FEAError(
            f"data.{name}: no label is understood in {files}{_hint(tables[0])}; give 'labels' or 'AUs' to the lines that "
            "answers are measured on"
        )


Kind = Literal["", "analysed", "paired"]  # of examples that a stage trains on; "" stands for any
_KINDS: dict[Kind, str] = {
    "": "examples",
    "analysed": "examples with an analysis (key 'description')",
    "paired": "preference pairs (key 'rejected', see 'fea data pairs')",
}


def expect_a_batch(count: int, kind: Kind, batch_size: int, processes: int, remedy: str) -> None:
    """Refuses a training set that is smaller than a batch.

    Args:
        count: its examples of the kind.
        kind: that the stage trains on.
        batch_size: of each process.
        processes: that train.
        remedy: what to do.

    Raises:
        FEAError: there are too few.
    """
    if count < batch_size * processes:
        raise FEAError(
            f"data.batch_size: {batch_size} on {processes} processes, but 'data.train' holds only {count} {_KINDS[kind]}; "
            f"{remedy}"
        )


def look_at_images(name: str, table: Table, most_pixels: int, on_bad: OnBad) -> Thumbnails:
    """Opens every image once; thumbnails of those that can be read, by path.

    Args:
        name: of the set, for the message.
        table: with their paths.
        most_pixels: that an image may have.
        on_bad: whether one that cannot be read is refused, or told.

    Raises:
        FEAError: one cannot be read, with on_bad "raise".
    """
    found = look_once(table, most_pixels)
    if found.problems:
        told = f"{len(found.problems)} images of '{table.path}' cannot be read; the first: {found.problems[0]}"
        if told.endswith("'image_root'"):  # the image is not there
            told += f", as in {option(name, table.path, 'FOLDER')}"
        if on_bad == "raise":
            raise FEAError(f"{told}, or set 'on_bad: skip'")
        rank_zero_info(told)
    for warning in found.warnings:
        rank_zero_info(f"{table.path}: warning: {warning}")
    return found.thumbnails


def _hint(table: Table) -> str:
    return f" ({table.summary.warnings[0]})" if table.summary.warnings else ""
