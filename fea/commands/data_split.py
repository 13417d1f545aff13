"""`fea data split`: a train and a test set from a reviewed file, with no person in both and like shares of all labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fea.data.leaks import BITS, Pair, hashes_of, tied
from fea.data.record import Rules
from fea.data.strata import deal
from fea.errors import FEAError
from fea.facs import ACTION_UNITS, emotion_set
from fea.review.reviewed import Line, Reviewed, Unreviewed, read_reviewed
from fea.system.files import common_root, whole
from fea.system.lines import jsonl

_SHOWN = 5  # pairs of images that are listed


class Sides(NamedTuple):
    """Which lines go to which set, (lines,) each; a line may be in neither."""

    train: NDArray[np.bool_]
    test: NDArray[np.bool_]


def split_file(
    file: Path,
    *,
    out: Path,
    test_share: float = 0.1,
    image_root: Path | None = None,
    emotions: str | list[str] = "basic7",
    unreviewed: Unreviewed = "train",
    distance: int = 12,
    seed: int = 0,
) -> int:
    """Makes a train and a test set from a reviewed file, with no person in both.

    Rejected lines are dropped, edited descriptions replaced. The test set holds accepted lines whose text is well-formed and
    names exactly the coded Action Units and a right emotion. Lines with the same "subject" in `meta_info` show one person.

    Args:
        file: JSONL in FEA-20K format, reviewed with `fea review`; "subject" in `meta_info` names the person.
        out: folder for `train.jsonl` and `test.jsonl`; neither may be there yet.
        test_share: share of the lines, of each emotion and of each Action Unit that is wanted for the test set.
        image_root: folder of the images; by default the folder of the file.
        emotions: allowed emotions: "basic7", "basic8", "compound11" or a list.
        unreviewed: lines that nobody accepted or rejected go to "train"; "drop" leaves them out; "any" takes them for
            reviewed, if they were checked elsewhere.
        distance: people are kept together if images of theirs look alike: if perceptual hashes differ in at most so many of
            256 bits (unrelated images: about 128; copies that were saved again or rescaled: up to 12; 0: equal hashes only).
            Crops and mirror images are not found.
        seed: of the choice between people of the same kind.

    Returns:
        0.

    Raises:
        FEAError: an input cannot be read, two reviewers edited a line differently, `out` holds such files, or there is
            nobody to put into the test set.
    """
    _check(file, out, test_share, distance, seed)
    read = read_reviewed(file, image_root or file.parent, Rules(emotion_set(emotions)), unreviewed)
    lines, testable = read.lines, np.array([line.testable for line in read.lines])
    if not testable.any():
        raise FEAError(
            f"no line of '{file}' can go to the test set: of {len(lines)} lines {sum(line.reviewed for line in lines)} are "
            "reviewed, and none of these agrees with its labels; review more lines"
        )
    people = _people(lines)
    groups, pairs = tied(hashes_of([line.example for line in lines]), people, distance)
    labels, counts = _counts(lines)
    chosen = deal(_by_group(counts, groups), _by_group(counts * testable[:, None], groups), test_share, seed)
    if not chosen.any():
        raise FEAError(
            f"nobody in '{file}' can go to the test set, for the train set needs somebody with each emotion and each Action "
            f"Unit; there are {groups.max() + 1} people (those whose images look alike count as one): add some, or lower "
            "--distance"
        )
    sides = Sides(~chosen[groups], chosen[groups] & testable)
    root = _write(out, lines, sides)
    told = [*_told_lines(file, read, sides), *_told_people(lines, people, groups, pairs, sides)]
    print("\n".join([*told, *_told_labels(labels, counts, sides)]))
    if root != out.resolve():
        print(f"the images are relative to '{root}': name it as image_root of both files")
    return 0


def _check(file: Path, out: Path, test_share: float, distance: int, seed: int) -> None:
    if not file.is_file():
        raise FEAError(f"data file '{file}' does not exist")
    if not 0 < test_share < 1:
        raise FEAError(f"test_share: {test_share}; give a share between 0 and 1")
    if not 0 <= distance < BITS // 2:
        raise FEAError(
            f"distance: {distance}; give a number from 0 to {BITS // 2 - 1}, unrelated images are that far apart"
        )
    if seed < 0:
        raise FEAError(f"seed: {seed}; give a number from 0 up")
    for target in (out / "train.jsonl", out / "test.jsonl"):
        if target.exists():
            raise FEAError(f"out: '{target}' exists; choose another folder")


def _people(lines: Sequence[Line]) -> NDArray[np.int64]:
    """The number of each line's person; a line that names none is a person of its own."""
    known: dict[str | int, int] = {}
    return np.array([known.setdefault(line.subject or number, len(known)) for number, line in enumerate(lines)])


def _counts(lines: Sequence[Line]) -> tuple[list[str], NDArray[np.int64]]:
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


# --- what comes out ---------------------------------------------------------------------------------------------------


def _write(out: Path, lines: Sequence[Line], sides: Sides) -> Path:
    """Writes both files or none; returns what their images are relative to."""
    root = common_root([line.example.image for line in lines], out)
    with whole(out / "train.jsonl") as train, whole(out / "test.jsonl") as test:
        for stream, side in ((train, sides.train), (test, sides.test)):
            stream.write(jsonl(_record(line, root) for line, on_side in zip(lines, side, strict=True) if on_side))
    return root


def _record(line: Line, root: Path) -> dict[str, Any]:
    """The line with its image's new path; what was coded may follow from the other lines of its file, so it is written out."""
    coded = [f"AU{number}" for number in sorted(line.example.coded)]
    more = {"AUs_coded": coded} if coded and line.raw.get("AUs_coded") is None else {}
    return {**line.raw, "image": os.path.relpath(Path(line.example.image).resolve(), root), **more}


def _told_lines(file: Path, read: Reviewed, sides: Sides) -> Iterator[str]:
    reasons = ", ".join(f"{count} {reason}" for reason, count in read.dropped.items()) or "none"
    yield f"{file}: {len(read.lines)} lines; dropped: {reasons}"
    yield f"train set: {sides.train.sum()} lines; test set: {sides.test.sum()}, or {sides.test.mean():.1%}"
    faulty = [line.reviewed and not line.testable for line in read.lines]
    if any(faulty & sides.train):
        yield f"  {sum(faulty & sides.train)} reviewed lines are in the train set because they do not agree with their labels"
    neither = ~sides.train & ~sides.test
    if neither.any():
        yield f"  {neither.sum()} lines of people in the test set are in neither: not reviewed, or not like their labels"
    if read.stale:
        yield f"  {read.stale} decisions are about texts that are not in the file"


def _told_people(
    lines: Sequence[Line], people: NDArray[np.int64], groups: NDArray[np.int64], pairs: Sequence[Pair], sides: Sides
) -> Iterator[str]:
    yield f"people: {len(set(people[sides.train]))} in the train set, {len(set(people[sides.test]))} in the test set"
    unnamed = sum(not line.subject for line in lines)
    if unnamed:
        yield f"  {unnamed} lines name no subject in meta_info: each counts as a person of its own"
    members = Counter(group for group, _ in set(zip(groups, people, strict=True)))
    tied_lines = sum(members[group] > 1 for group in groups)
    if tied_lines:
        yield f"  {tied_lines} lines are of people who are kept together because images of theirs look alike:"
    for first, second, bits in pairs[:_SHOWN]:
        yield f"    {lines[first].example.place} and {lines[second].example.place}: {bits} of {BITS} bits differ"


def _told_labels(labels: Sequence[str], counts: NDArray[np.int64], sides: Sides) -> Iterator[str]:
    yield f"{'':<28}{'train':>8}{'test':>8}   share"
    for label, train, test in zip(["all", *labels], counts[sides.train].sum(0), counts[sides.test].sum(0), strict=True):
        yield f"{label:<28}{train:>8}{test:>8}{test / (train + test):>8.1%}"
