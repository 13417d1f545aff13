"""Folds of people: which faces of a file are trained on and which are tested on, and how people are dealt to folds.

With fold 2 of 3:

    meta_info.fold    1      2      3
    train, val        x             x       validation never sees whom the test is about
    test                     x

The fold of a face stands in its line (`meta_info.fold`, counted from 1), or follows from the person where the lists of a data
set are published.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fea.data.strata import deal
from fea.data.table import Table
from fea.datasets.known import dataset_of
from fea.errors import FEAError
from fea.records.person import person


def fold_in(dataset: str, meta: str) -> int | None:
    """The fold that tests on a face; None if nobody says.

    Args:
        dataset: of the face.
        meta: its free-form information as JSON.
    """
    said = json.loads(meta or "{}")
    said = said if isinstance(said, dict) else {}
    named = str(said.get("fold", "")).strip()
    if named.isdecimal() and int(named) > 0:
        return int(named)
    known = dataset_of(dataset)
    return known.fold_of(person(said.get("subject"))) if known else None


def folds_of(table: Table) -> NDArray[np.int64]:
    """The fold of each record of a table, 0 where nobody says."""
    records = zip(table.column("dataset"), table.column("meta_info"), strict=True)
    return np.array([fold_in(dataset, meta) or 0 for dataset, meta in records], dtype=np.int64)


def choose(tables: Sequence[Table], fold: int, tested: bool, name: str) -> None:
    """Keeps the faces of one fold, or of all others.

    Args:
        tables: of a set; each remembers what is chosen.
        fold: the one that is tested on, from 1.
        tested: keep its faces; else keep those of the other folds.
        name: of the set, for messages.

    Raises:
        FEAError: a face is in no fold, or none is left.
    """
    known: set[int] = set()
    for table in tables:
        folds = folds_of(table)
        without = np.flatnonzero(folds == 0)
        if len(without):
            place = f"{table.path}:{table.column('line')[int(without[0])]}"
            raise FEAError(
                f"data.fold: {fold}, but {len(without)} of {len(table)} faces of '{table.path}' are in no fold (the first: "
                f"{place}); make some with 'fea data folds {table.path} -o FILE'"
            )
        known |= set(folds.tolist())
        table.chosen = (folds == fold) == tested
    if tables and fold not in known:
        raise FEAError(f"data.fold: {fold}; the folds of data.{name} are {', '.join(map(str, sorted(known)))}")
    if tables and not any(table.chosen is not None and table.chosen.any() for table in tables):
        raise FEAError(
            f"data.fold: {fold}, and no face of data.{name} is in another one; list a file with several folds"
        )


def dealt(people: NDArray[np.int64], labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Deals people to folds, so that each fold has the same share of every label.

    Args:
        people: (F,) the number of each face's person, from 0 without gaps.
        labels: (F, L) which face has which label.
        count: of folds.
        seed: of the choice between people of the same kind.

    Returns:
        (F,) the fold of each face, from 1.

    Raises:
        FEAError: there are fewer people than folds, or somebody has most of the faces.
    """
    persons = int(people.max()) + 1
    held = np.zeros((persons, labels.shape[1] + 1), dtype=np.int64)
    np.add.at(held, people, np.column_stack([np.ones(len(people), dtype=np.int64), labels]))
    fold_of = np.zeros(persons, dtype=np.int64)
    for fold in range(1, count):
        left = np.flatnonzero(fold_of == 0)
        chosen = left[deal(held[left], held[left], 1 / (count - fold + 1), seed + fold)] if len(left) > 1 else left[:0]
        if not len(chosen):
            raise FEAError(
                f"count: {count} folds of {persons} people, and each label needs somebody outside of a fold; give fewer "
                "folds, or data of more people"
            )
        fold_of[chosen] = fold
    fold_of[fold_of == 0] = count
    found: NDArray[np.int64] = fold_of[people]
    return found
