"""Numbers beside words: what answers tell of valence, arousal and the grades of units, and how near that is to the truth.

    examples, answers  --number_sums-->  Moments, a row a face  --pooled_numbers-->  sums  --number_scores-->  numbers by name

What was asked for and cannot be read counts as the middle of its range, and a unit that is not claimed as grade 0: nothing is
dropped, so that a policy gains nothing by silence. What was not asked for, or is not known, counts for nothing.

F faces, N FACS numbers; "..." is (F,) in rows, (D,) in D sums and () in a single one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fea.data.example import Example
from fea.evaluation.counts import NUMBERS, Floats
from fea.evaluation.dimensional import Moments, ccc, icc, mae, moments, mse, pcc, rmse, sagr
from fea.prompts.answer import Answer
from fea.prompts.numbers import AFFECT, MIDDLE, Number, grade_of

_DIGITS = 5  # of numbers: labels have four at most, and sums of so many are exact in every precision that is used
_AFFECT = {"ccc": ccc, "pcc": pcc, "rmse": rmse, "sagr": sagr}
GRADED = {"icc": icc, "pcc": pcc, "mse": mse, "mae": mae}


class NumberSums(NamedTuple):
    """Sums over pairs of what is told and what is true.

    Attributes:
        affect: (..., 2) valence and arousal.
        grades: (..., N) intensities by FACS number.
    """

    affect: Moments
    grades: Moments


def told_affect(answer: Answer) -> dict[Number, float]:
    """Valence and arousal of an answer, as far as they were asked for, or are told all the same."""
    told: dict[Number, float | None] = {"valence": answer.valence, "arousal": answer.arousal}
    asked = {name: MIDDLE[name] if told[name] is None else told[name] for name in AFFECT if name in answer.numbers}
    return {name: value for name, value in (told | asked).items() if value is not None}


def told_grades(answer: Answer, coded: frozenset[int]) -> dict[int, float]:
    """Intensities that an answer tells: "AU12C" is 3. What is coded and not claimed is 0.

    Args:
        answer: the parsed text.
        coded: FACS numbers that were looked for.

    Returns:
        By FACS number; a unit that is claimed without a grade is left out, or has the middle one where grades were asked for.
        Empty if they were not, and no claimed unit has one.
    """
    claimed = [mention for mention in answer.mentions if mention.claimed]
    asked = "intensity" in answer.numbers
    told = {mention.number: grade_of(mention.grade) for mention in claimed if mention.grade}
    if not told and not asked:
        return {}
    if asked:
        told = dict.fromkeys(answer.aus, grade_of("")) | told
    return told | dict.fromkeys(coded - answer.aus, 0.0)


def number_sums(examples: Sequence[Example], answers: Sequence[Sequence[Answer]]) -> NumberSums:
    """Sums of each face over its answers.

    Args:
        examples: F faces.
        answers: of each face, any number.
    """
    faces, most = len(examples), max(map(len, answers), default=0)
    affect, grades = np.full((2, faces, most, len(AFFECT)), np.nan), np.full((2, faces, most, NUMBERS), np.nan)
    for face, (example, said) in enumerate(zip(examples, answers, strict=True)):
        true_affect, true_grades = example.affect, example.grades
        for number, answer in enumerate(said):
            told = told_affect(answer)
            affect[:, face, number] = [[known.get(name, np.nan) for name in AFFECT] for known in (told, true_affect)]
            for side, known in enumerate((told_grades(answer, example.coded), true_grades)):
                grades[side, face, number, list(known)] = list(known.values())
    exact = (pairs.round(_DIGITS) for pairs in (affect, grades))
    return NumberSums(*(Moments(*(part.sum(axis=1) for part in moments(*pairs))) for pairs in exact))


def pooled_numbers(sums: NumberSums, times: Floats | None = None) -> NumberSums:
    """Sums over faces.

    Args:
        sums: a row a face.
        times: (D, F) how often each face is taken in each of D sums; None for one sum of every face once.
    """
    every = np.ones(len(sums.affect.n)) if times is None else times
    return NumberSums(*(Moments(*(np.asarray(every @ part) for part in parts)) for parts in sums))


def added_numbers(sums: Sequence[NumberSums]) -> NumberSums:
    """One sum of several, such as those of all processes."""
    return NumberSums(
        *(Moments(*map(np.asarray, map(sum, zip(*parts, strict=True)))) for parts in zip(*sums, strict=True))
    )


def number_scores(sums: NumberSums) -> dict[str, Floats]:
    """How near the numbers are.

    Args:
        sums: over faces.

    Returns:
        (...) by name; those that no answer tells, or no face, are left out, and NaN in those of several sums where none does.
        ccc_valence, pcc_valence, rmse_valence, sagr_valence: concordance, correlation, root mean square error, and the share of
            answers with the true sign; likewise of arousal.
        icc, pcc, mse, mae: of intensities, means over the units whose true intensity changes.
    """
    found: dict[str, Floats] = {}
    for column, name in enumerate(AFFECT):
        part = Moments(*(values[..., column] for values in sums.affect))
        if np.any(part.n):
            found |= {f"{score}_{name}": of(part) for score, of in _AFFECT.items()}
    if np.any(sums.grades.n):
        changes = ~np.isnan(icc(sums.grades))  # errors of the same units as correlations
        found |= {name: mean_known(np.where(changes, of(sums.grades), np.nan)) for name, of in GRADED.items()}
    return {name: value for name, value in found.items() if not np.all(np.isnan(value))}


def intensity_scores(grades: Moments) -> dict[str, dict[str, float]]:
    """How near the intensities of each unit are: by code, the numbers of `number_scores`.

    Args:
        grades: (N,) sums over faces.
    """
    found: dict[str, dict[str, float]] = {}
    for name, of in GRADED.items():
        values = of(grades)
        for number in np.flatnonzero(~np.isnan(values) & ~np.isnan(icc(grades))).tolist():
            found.setdefault(f"AU{number}", {})[name] = float(values[number])
    return found


def mean_known(values: Floats) -> Floats:
    """The mean over the last axis of what is no NaN; NaN where nothing is."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=-1)
    mean: Floats = np.where(known.any(axis=-1), total / np.maximum(known.sum(axis=-1), 1), np.nan)
    return mean


def by_name(scores: Mapping[str, Floats]) -> dict[str, float]:
    """Scores of one sum as plain numbers; those that are not known are left out."""
    return {name: float(value) for name, value in scores.items() if not np.isnan(value)}
