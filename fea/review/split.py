"""A train and a test set, and one for validation, from one file: no person in two, like shares of all labels in each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fea.data.leaks import BITS, Pair, hashes_of, tied
from fea.data.strata import deal
from fea.errors import FEAError
from fea.facs import ACTION_UNITS
from fea.reports import tables
from fea.review.reviewed import Reviewed, ReviewedLine
from fea.system.files import common_root, try_place, write_atomically
from fea.system.lines import jsonl
from fea.system.sets import recover, together

_FILES = ("train.jsonl", "test.jsonl")  # of the sides, in their order
_VALIDATION = "val.jsonl"
_HEADS = {"validation": "val"}  # of the table, where the name is too long for a column
_SHOWN = 5  # pairs of images that are listed


class Sides(NamedTuple):
    """Which lines go to which set, (lines,) each; a line may be in none."""

    train: NDArray[np.bool_]
    test: NDArray[np.bool_]
    val: NDArray[np.bool_]


class Split(NamedTuple):
    """Who goes where, and why.

    Attributes:
        sides: which lines go to which set.
        people: number of each line's person, (lines,).
        groups: number of each line's group of people whose images look alike, (lines,).
        pairs: images of different people that look alike.
        labels: emotions and Action Units.
        counts: which lines have them, (lines, 1 + labels); the first column is that of all lines.
    """

    sides: Sides
    people: NDArray[np.int64]
    groups: NDArray[np.int64]
    pairs: list[Pair]
    labels: list[str]
    counts: NDArray[np.int64]


def split_lines(
    file: Path,
    lines: Sequence[ReviewedLine],
    test_share: float,
    val_share: float,
    distance: int,
    seed: int,
    most_pixels: int,
) -> Split:
    """Deals people to the sets; of those who go to the test set, lines that may not be tested on are in none.

    Args:
        file: that the lines come from, for messages.
        lines: as their reviewers left them.
        test_share: share of the lines and of each label that is wanted for the test set.
        val_share: the same for a validation set; 0 for none.
        distance: bits in which the hashes of two images may differ if they are to count as alike.
        seed: of the choice between people of the same kind.
        most_pixels: that an image may have to be read.

    Raises:
        FEAError: an image cannot be read, or there is nobody to put into the test set.
    """
    testable = np.array([line.testable for line in lines])
    if not testable.any():
        raise FEAError(
            f"no line of '{file}' can go to the test set: of {len(lines)} lines {sum(line.reviewed for line in lines)} are "
            "reviewed, and none of these agrees with its labels; review more lines"
        )
    people = _people(lines)
    groups, pairs = tied(hashes_of([line.example for line in lines], most_pixels), people, distance)
    labels, counts = _counts(lines)
    chosen = deal(_by_group(counts, groups), _by_group(counts * testable[:, None], groups), test_share, seed)
    if not chosen.any():
        raise FEAError(
            f"nobody in '{file}' can go to the test set, for the train set needs somebody with each emotion and each Action "
            f"Unit; there are {groups.max() + 1} people (those whose images look alike count as one): add some, or lower "
            "--distance"
        )
    held = _held_for_validation(_by_group(counts, groups), chosen, val_share / (1 - test_share), seed)
    if val_share and not held.any():
        raise FEAError(f"nobody in '{file}' is left for the validation set; add people, or leave --val_share out")
    sides = Sides(~(chosen | held)[groups], chosen[groups] & testable, held[groups])
    return Split(sides, people, groups, pairs, labels, counts)


def _held_for_validation(
    counts: NDArray[np.int64], chosen: NDArray[np.bool_], share: float, seed: int
) -> NDArray[np.bool_]:
    """Of the groups that are not tested on, those that are validated on, (groups,)."""
    held, rest = np.zeros(len(chosen), np.bool_), np.flatnonzero(~chosen)
    if share and len(rest):
        held[rest] = deal(counts[rest], counts[rest], share, seed)
    return held


def _people(lines: Sequence[ReviewedLine]) -> NDArray[np.int64]:
    """The number of each line's person; a line that names none is a person of its own."""
    known: dict[str | int, int] = {}
    return np.array([known.setdefault(line.subject or number, len(known)) for number, line in enumerate(lines)])


def _counts(lines: Sequence[ReviewedLine]) -> tuple[list[str], NDArray[np.int64]]:
    """Emotions and Action Units, and which lines have them, (lines, 1 + labels); the first column is that of all lines."""
    found = [{*line.example.labels, *line.example.present} for line in lines]
    words = sorted({word for line in lines for word in line.example.labels})
    units = sorted({unit for line in lines for unit in line.example.present})
    counts = [[1, *(label in of_line for label in (*words, *units))] for of_line in found]
    return [*words, *(f"AU{unit} {ACTION_UNITS[unit].name}" for unit in units)], np.array(counts)


def _by_group(counts: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    sums = np.zeros((groups.max() + 1, counts.shape[1]), dtype=np.int64)
    np.add.at(sums, groups, counts)
    return sums


def check_place(out: Path, val: bool = False) -> None:
    """Finds out before the work whether all files can be written.

    Args:
        out: folder for them.
        val: whether there is a validation set.

    Raises:
        FEAError: one of them is there.
        OSError: there is no room, or no permission.
    """
    names = (*_FILES, _VALIDATION) if val else _FILES
    recover(out, names[0], names[1:])
    for file in (out / name for name in names):
        if file.exists():
            raise FEAError(f"out: '{file}' exists; choose another folder")
        try_place(file)


def write_sides(out: Path, lines: Sequence[ReviewedLine], sides: Sides) -> Path:
    """Writes all files or none.

    Args:
        out: folder for `train.jsonl`, `test.jsonl`, and `val.jsonl` if there is a validation set.
        lines: of all sides.
        sides: which lines go to which file.

    Returns:
        What the images of all files are relative to.

    Raises:
        FEAError: one of them is there by now.
    """
    root = common_root([line.example.image for line in lines], out)
    with together(out, _FILES[0]) as part:
        val = bool(sides.val.any())
        for name, side in zip((*_FILES, _VALIDATION)[: 2 + val], sides, strict=False):
            chosen = (_record(line, root) for line, on_side in zip(lines, side, strict=True) if on_side)
            write_atomically(part / name, jsonl(chosen))
        check_place(out, val)  # the work has taken its time
    return root


def _record(line: ReviewedLine, root: Path) -> dict[str, Any]:
    """The line with its image's new path; what was coded may follow from the other lines of its file, so it is written out."""
    coded = [f"AU{number}" for number in sorted(line.example.coded)]
    more = {"AUs_coded": coded} if coded and line.raw.get("AUs_coded") is None else {}
    return {**line.raw, "image": os.path.relpath(Path(line.example.image).resolve(), root), **more}


def told(file: Path, read: Reviewed, split: Split) -> Iterator[str]:
    """What came out, a sentence a line, and a table of the labels.

    Args:
        file: that was split.
        read: what it holds.
        split: who went where.
    """
    yield from _told_lines(file, read, split.sides)
    yield from _told_people(read.lines, split)
    yield _shares(split)


def _told_lines(file: Path, read: Reviewed, sides: Sides) -> Iterator[str]:
    reasons = ", ".join(f"{count} {reason}" for reason, count in read.dropped.items()) or "none"
    yield f"{file}: {len(read.lines)} lines; dropped: {reasons}"
    yield f"train set: {sides.train.sum()} lines; test set: {sides.test.sum()}, or {sides.test.mean():.1%}"
    if sides.val.any():
        yield f"validation set: {sides.val.sum()} lines, or {sides.val.mean():.1%}"
    faulty = [line.reviewed and not line.testable for line in read.lines]
    if any(faulty & sides.train):
        yield f"  {sum(faulty & sides.train)} reviewed lines are in the train set because they do not agree with their labels"
    neither = ~sides.train & ~sides.test & ~sides.val
    if neither.any():
        yield f"  {neither.sum()} lines of people in the test set are in neither: not reviewed, or not like their labels"
    if read.stale:
        yield f"  {read.stale} decisions are about texts that are not in the file"


def _told_people(lines: Sequence[ReviewedLine], split: Split) -> Iterator[str]:
    sides, people, groups = split.sides, split.people, split.groups
    yield "people: " + ", ".join(f"{len(set(people[side]))} in the {name} set" for name, side in _named(sides).items())
    unnamed = sum(not line.subject for line in lines)
    if unnamed:
        yield f"  {unnamed} lines name no subject in meta_info: each counts as a person of its own"
    members = Counter(group for group, _ in set(zip(groups, people, strict=True)))
    tied_lines = sum(members[group] > 1 for group in groups)
    if tied_lines:
        yield f"  {tied_lines} lines are of people who are kept together because images of theirs look alike:"
    for first, second, bits in split.pairs[:_SHOWN]:
        yield f"    {lines[first].example.place} and {lines[second].example.place}: {bits} of {BITS} bits differ"


def _shares(split: Split) -> str:
    """How many lines with each label are on each side, and what share of them is tested on."""
    counts = {name: split.counts[side].sum(0) for name, side in _named(split.sides).items()}
    shares = [f"{share:.1%}" for share in counts["test"] / sum(counts.values())]
    rows = zip(["all", *split.labels], *counts.values(), shares, strict=True)
    heads = ("", *(_HEADS.get(name, name) for name in counts), "share")
    return tables.plain("{:<28}" + "{:>8}" * (len(heads) - 1), [heads, *rows])


def _named(sides: Sides) -> dict[str, NDArray[np.bool_]]:
    """The sides that there are, by what they are called."""
    return {"train": sides.train, **({"validation": sides.val} if sides.val.any() else {}), "test": sides.test}
