"""Two evaluations on the same faces: what changed, and how sure that is.

The answers of both about a face are laid side by side, and people are drawn (where all are known, else faces) with all their
answers of both, so that what makes a face hard cancels out (the paired bootstrap; Efron & Tibshirani, 1993). Scores are made as
in `measuring`, F1 of a class as in `counts`; there is no other formula here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fea.errors import FEAError
from fea.evaluation.counts import Floats, f1, pooled
from fea.evaluation.intervals import Interval
from fea.evaluation.numbers import mean_known
from fea.facs import au_number
from fea.protocols.cases import Case
from fea.protocols.known import protocol_of
from fea.protocols.measuring import Rows, by_fold, middle, numbers, resampled, resampled_by, rows_of
from fea.protocols.scored import Scored
from fea.protocols.scoring import compared_texts

Run = tuple[Scored, Sequence[Case]]
Key = tuple[str, str, str]  # data set, id, and name of the image: folders may differ from machine to machine


class Change(NamedTuple):
    """A score of both.

    Attributes:
        first: of the first run.
        second: of the second one.
        difference: second - first, with its interval; None where draws have no value.
        support: faces that show a class, 0 for other scores.
    """

    first: float
    second: float
    difference: Interval | None
    support: int = 0


class Comparison(NamedTuple):
    """What differs between two runs.

    Attributes:
        protocol: of both.
        faces: that both answered.
        people: among them, as far as they are known.
        resampled: "subjects" or "faces".
        only: of each run, the ids of faces that are in it alone.
        scores: by name.
        units: F1 by code.
        emotions: F1 by word.
    """

    protocol: str
    faces: int
    people: int
    resampled: str
    only: tuple[list[str], list[str]]
    scores: Mapping[str, Change]
    units: Mapping[str, Change]
    emotions: Mapping[str, Change]


def compared(first: Run, second: Run, draws: int, seed: int = 0) -> Comparison:
    """Compares two runs on the faces of both.

    Args:
        first: scores and cases of a run.
        second: of another one.
        draws: of the bootstrap.
        seed: of the draws.

    Raises:
        FEAError: the protocols, the way of reading or the labels differ, or there is no face in both.
    """
    (one, cases), (other, others) = first, second
    _check(one, other)
    mine, theirs = _by_key(cases), _by_key(others)
    both = [key for key in mine if key in theirs]
    if not both:
        raise FEAError(
            f"no face is in both runs: one has {_named(mine)}, the other one {_named(theirs)}; compare runs on one file"
        )
    pairs = [(mine[key], theirs[key]) for key in both]
    _check_labels(pairs)
    by = resampled_by([case for case, _ in pairs])
    units = tuple(au_number(code) for code in one.units if code in other.units)
    words = tuple(one.confusion.get("labels", ()))
    before, after = (_rows(one.protocol, list(side), words, units, by) for side in zip(*pairs, strict=True))
    changes = _changes(before, after, draws, seed)
    support = _support(before)
    return Comparison(
        protocol=one.protocol,
        faces=len(both),
        people=len({case.subject for case, _ in pairs} - {None}),
        resampled=by,
        only=(_alone(mine, theirs), _alone(theirs, mine)),
        scores={
            n: change
            for (kind, n), change in changes.items()
            if kind == "score" and n in one.scores and n in other.scores
        },
        units={name: _of(change, support[name]) for (kind, name), change in changes.items() if kind == "unit"},
        emotions={
            name: _of(change, support[name])
            for (kind, name), change in changes.items()
            if kind == "emotion" and support[name]
        },
    )


def _check(one: Scored, other: Scored) -> None:
    if one.protocol != other.protocol:
        raise FEAError(
            f"one run was scored by {one.protocol}, the other one by {other.protocol}, and their numbers mean different "
            "things; score both by one protocol with fea score"
        )
    if one.lenient != other.lenient:
        raise FEAError(
            "the answers of one run were read leniently, those of the other one strictly; score both in one way"
        )


def _by_key(cases: Sequence[Case]) -> dict[Key, Case]:
    found = {(case.example.dataset, case.example.id, Path(case.example.image).name): case for case in cases}
    if len(found) < len(cases):
        keys = Counter((case.example.id, Path(case.example.image).name) for case in cases)
        (identity, image), count = keys.most_common(1)[0]
        raise FEAError(f"{count} faces of a run are called '{identity}' ({image}); give each an id of its own")
    return found


def _named(cases: Mapping[Key, Case]) -> str:
    return ", ".join([f"'{identity}'" for _, identity, _ in list(cases)[:2]] + ["..."] * (len(cases) > 2))


def _alone(mine: Mapping[Key, Case], theirs: Mapping[Key, Case]) -> list[str]:
    return [identity for key in mine if key not in theirs for _, identity, _ in [key]]


def _check_labels(pairs: Sequence[tuple[Case, Case]]) -> None:
    """Refuses runs on different label files: what both are measured against has to be the same, face by face."""
    differing = [one.example.id for one, other in pairs if _truth(one) != _truth(other)]
    if differing:
        raise FEAError(
            f"the labels of {len(differing)} of {len(pairs)} faces differ between the runs, such as those of '{differing[0]}'; "
            "score both against one label file"
        )


def _truth(case: Case) -> tuple[object, ...]:
    example = case.example
    return example.labels, example.present, example.coded, case.subject, case.fold


def _rows(protocol: str, cases: Sequence[Case], words: tuple[str, ...], units: tuple[int, ...], by: str) -> Rows:
    return rows_of(cases, words, units, compared_texts(cases, protocol_of(protocol)), by)


def _changes(before: Rows, after: Rows, draws: int, seed: int) -> dict[tuple[str, str], Change]:
    """By kind and name; of what both have."""
    parts: dict[tuple[str, str], list[Floats]] = {}
    for times in resampled(before.folds, draws, seed):
        early, late = _all(before, times), _all(after, times)
        for name in early:
            if name in late:
                parts.setdefault(name, []).append(late[name] - early[name])
    first, second = _all(before, None), _all(after, None)
    found = {}
    for name in first:
        if name in second and not np.isnan([first[name][0], second[name][0]]).any():
            a, b = float(first[name][0]), float(second[name][0])
            ends = middle(np.concatenate(parts[name])) if name in parts else None
            found[name] = Change(a, b, Interval(b - a, *ends) if ends else None)
    return found


def _all(rows: Rows, times: Floats | None) -> dict[tuple[str, str], Floats]:
    """(D,) by kind and name: scores, and F1 of each class."""
    return {("score", name): values for name, values in numbers(rows, times).items()} | dict(_by_class(rows, times))


def _by_class(rows: Rows, times: Floats | None) -> Iterator[tuple[tuple[str, str], Floats]]:
    """F1 of each unit and each emotion, means of the folds as in `metrics.json`."""
    units, emotions = [], []
    for _, taken in by_fold(rows, times):
        aus, confusion = pooled(rows.aus, taken), pooled(rows.emotions, taken).confusion
        units.append(f1(aus.hits, aus.claimed, aus.present))
        hits = np.diagonal(confusion, axis1=-2, axis2=-1)
        emotions.append(f1(hits, confusion.sum(axis=-2)[..., :-1], confusion.sum(axis=-1)))
    for unit in rows.units:
        yield ("unit", f"AU{unit}"), mean_known(np.stack([fold[:, unit] for fold in units], axis=-1))
    for column, word in enumerate(rows.words):
        yield ("emotion", word), mean_known(np.stack([fold[:, column] for fold in emotions], axis=-1))


def _support(rows: Rows) -> dict[str, int]:
    units = {f"AU{unit}": int(rows.aus.present[:, unit].sum()) for unit in rows.units}
    labels = rows.emotions.confusion.sum(axis=(0, 2))
    return units | {word: int(labels[column]) for column, word in enumerate(rows.words)}


def _of(change: Change, support: int) -> Change:
    return change._replace(support=support)
