"""Learns a readout from coded faces, and measures it on people that it was not learned from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fea.datasets.conversion import Face
from fea.errors import FEAError
from fea.faces.blendshapes import NAMES, Shapes
from fea.faces.logistic import fit
from fea.faces.readout import Learned, rounded
from fea.faces.rules import RULES
from fea.facs import au_number

PARTS = 5  # of the people: each is left out once, and read by weights from the four others
# Faces with a unit, and faces without it, that it is learned from: with fewer, an F1 says nothing.
FEWEST = 10


class Coded(NamedTuple):
    """Coded faces.

    Attributes:
        shapes: their blendshapes, (faces, 52).
        people: number of the person of each, (faces,).
        named: whether the person was named, (faces,).
        shows: by FACS number, which faces have the unit, (faces,).
        looked: by FACS number, for which faces somebody looked for it, (faces,).
    """

    shapes: Shapes
    people: NDArray[np.int64]
    named: NDArray[np.bool_]
    shows: Mapping[int, NDArray[np.bool_]]
    looked: Mapping[int, NDArray[np.bool_]]


class Result(NamedTuple):
    """What came of learning.

    Attributes:
        learned: by code of the unit.
        left_out: by code of the unit, why it was not learned.
    """

    learned: dict[str, Learned]
    left_out: dict[str, str]


def coded(faces: Sequence[tuple[Face, Shapes]]) -> Coded:
    """Coded faces as arrays.

    Args:
        faces: with their blendshapes, (52,) each; what was looked for is written out in `AUs_coded`.
    """
    known: dict[Hashable, int] = {}
    # Of a face that names no person, nobody knows who it is: it counts as a person of its own.
    names: list[Hashable] = [
        (f.dataset, str(f.meta["subject"])) if "subject" in f.meta else n for n, (f, _) in enumerate(faces)
    ]
    shown = [frozenset(map(au_number, face.AUs or ())) for face, _ in faces]
    sought = [frozenset(map(au_number, face.AUs_coded or ())) | of for (face, _), of in zip(faces, shown, strict=True)]
    units = sorted(set().union(*sought))
    return Coded(
        np.array([shapes for _, shapes in faces], np.float64).reshape(-1, len(NAMES)),
        np.array([known.setdefault(name, len(known)) for name in names], np.int64),
        np.array(["subject" in face.meta for face, _ in faces], np.bool_),
        {unit: np.array([unit in of for of in shown], np.bool_) for unit in units},
        {unit: np.array([unit in of for of in sought], np.bool_) for unit in units},
    )


def learn(faces: Coded) -> Result:
    """A readout of each unit of which there are enough faces.

    Raises:
        FEAError: there is no such unit.
    """
    learned: dict[str, Learned] = {}
    left_out: dict[str, str] = {}
    for unit, looked in faces.looked.items():
        shapes, people, shows = faces.shapes[looked], faces.people[looked], faces.shows[unit][looked]
        with_it, without = int(shows.sum()), int((~shows).sum())
        folds = parts(people)
        if min(with_it, without) < FEWEST:
            left_out[f"AU{unit}"] = f"{with_it} faces with it and {without} without"
        elif not all(_learnable(shows[folds != fold]) for fold in np.unique(folds)) or len(set(folds)) < 2:
            left_out[f"AU{unit}"] = "too few people show it, or too few do not"
        else:
            read = _read_by_others(shapes, shows, folds)
            rule = RULES.get(f"AU{unit}")
            by_rule = None if rule is None else f1(rule.strength(shapes) > rule.above, shows)
            learned[f"AU{unit}"] = Learned(rounded(fit(shapes, shows)), with_it, without, f1(read, shows), by_rule)
    if not learned:
        raise FEAError(
            f"no unit has {FEWEST} coded faces with it and {FEWEST} without, of several people each; there are "
            f"{len(faces.shapes)} coded faces: add some"
        )
    return Result(learned, left_out)


def _learnable(shows: NDArray[np.bool_]) -> bool:
    return bool(shows.any() and not shows.all())


def _read_by_others(shapes: Shapes, shows: NDArray[np.bool_], folds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which faces show a unit, (faces,), by weights from people in the other parts."""
    read = np.zeros(len(shows), np.bool_)
    for fold in np.unique(folds):
        held = folds == fold
        weights = rounded(fit(shapes[~held], shows[~held]))
        read[held] = shapes[held] @ weights[:-1] + weights[-1] > 0
    return read


def parts(people: NDArray[np.int64], count: int = PARTS) -> NDArray[np.int64]:
    """The part of each face's person, (faces,), from 0 up: people with many faces first, each to the smallest part.

    Args:
        people: number of each face's person, (faces,).
        count: of the parts; fewer where there are fewer people.
    """
    sizes, part_of = [0] * count, {}
    for person, faces in sorted(Counter(people.tolist()).items(), key=lambda one: (-one[1], one[0])):
        part_of[person] = sizes.index(min(sizes))
        sizes[part_of[person]] += faces
    return np.array([part_of[person] for person in people.tolist()], np.int64)


def f1(read: NDArray[np.bool_], shows: NDArray[np.bool_]) -> float:
    """The F1 of a unit; 0 where it was neither read nor there."""
    both = 2 * int((read & shows).sum())
    return both / (int(read.sum() + shows.sum()) or 1)
