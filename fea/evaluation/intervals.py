"""Two policies on the same faces: scores, and how sure their difference is.

Intervals come from the paired bootstrap (Efron & Tibshirani, 1993): faces are drawn with replacement, both policies are scored
on the same draw, and the middle 95 % of the differences are reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fea.data.example import Example
from fea.facs import nearest_emotions
from fea.prompts.answer import Answer

Floats = NDArray[np.float64]


class Tally(NamedTuple):
    """Counts of every face over its answers. F faces, A Action Units.

    Attributes:
        hits: (F, A) claimed and present.
        claimed: (F, A).
        present: (F, A), once an answer.
        marks: (F, M) sums of 0/1 judgements, in the order of `MARKS`.
        answers: (F,) answers of each face.
    """

    hits: Floats
    claimed: Floats
    present: Floats
    marks: Floats
    answers: Floats


MARKS = ("accuracy", "format", "alignment")
SCORES = ("au_f1", "accuracy", "invented", "format", "alignment")


class Interval(NamedTuple):
    """A difference and its 95 % interval."""

    mean: float
    low: float
    high: float


def judge(examples: Sequence[Example], answers: Sequence[Sequence[Answer]]) -> Tally:
    """Counts answers, several a face; all faces have to be coded and labelled."""
    numbers = sorted({number for example in examples for number in example.coded})
    hits, claimed, present = (np.zeros((len(examples), len(numbers))) for _ in range(3))
    marks = np.zeros((len(examples), len(MARKS)))
    for face, (example, said) in enumerate(zip(examples, answers, strict=True)):
        there = np.array([number in example.present for number in numbers])
        for answer in said:
            named = np.array([number in answer.aus & example.coded for number in numbers])
            hits[face] += named & there
            claimed[face] += named
            present[face] += there
            aligned = bool(answer.think) and answer.emotion in nearest_emotions(answer.aus, example.emotions)
            marks[face] += (answer.emotion in example.labels, answer.well_formed, aligned)
    return Tally(hits, claimed, present, marks, np.array([float(len(said)) for said in answers]))


def scores(tally: Tally, draws: Floats | None = None) -> dict[str, Floats]:
    """Scores over all faces, or over every bootstrap draw of them.

    Args:
        tally: the counts.
        draws: (D, F) how often each face is drawn; None for every face once.

    Returns:
        By name an array of D scores: "au_f1" is the macro F1 over units that occur, "invented" the claimed units that are not
        there, per answer.
    """
    times = np.ones((1, len(tally.answers))) if draws is None else draws
    hits, claimed, present = times @ tally.hits, times @ tally.claimed, times @ tally.present
    answers = times @ tally.answers
    f1 = 2 * hits / np.maximum(claimed + present, 1)
    occurring = np.maximum((present > 0).sum(axis=1), 1)  # the F1 of the other units is 0
    shares = times @ tally.marks / answers[:, None]
    return {
        "au_f1": f1.sum(axis=1) / occurring,
        "invented": (claimed - hits).sum(axis=1) / answers,
        **{name: shares[:, column] for column, name in enumerate(MARKS)},
    }


def differences(after: Tally, before: Tally, draws: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """How much each score changes from one policy to the other, with its interval."""
    faces = len(before.answers)
    times = np.random.default_rng(seed).multinomial(faces, np.full(faces, 1 / faces), size=draws).astype(np.float64)
    late, early = scores(after, times), scores(before, times)
    late_all, early_all = scores(after), scores(before)
    return {
        name: Interval(
            float(late_all[name][0] - early_all[name][0]),
            *map(float, np.quantile(late[name] - early[name], (0.025, 0.975))),
        )
        for name in SCORES
    }
