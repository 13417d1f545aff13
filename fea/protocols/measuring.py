"""From cases to numbers: counts by the unit of resampling, sums by fold, scores, and their bootstrap intervals.

    cases  --rows-->  a row of counts a person (or a face)  --numbers(times)-->  scores; times: how often each row is drawn

A fold's score is made of the pooled counts of its faces; the score of a protocol with folds is the mean of them. Intervals are
the middle 95 % of the scores of draws with replacement within each fold (Efron & Tibshirani, 1993): of people where all are
known, for faces of one person are alike, else of faces.

G rows, D draws, U units, E emotions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fea.data.example import Example
from fea.evaluation.counts import (
    NUMBERS,
    SCORED,
    AUCounts,
    EmotionCounts,
    Floats,
    au_scores,
    count_aus,
    count_emotions,
    emotion_scores,
    overall,
    pooled,
)
from fea.evaluation.dimensional import Moments, moments
from fea.evaluation.numbers import NumberSums, mean_known, number_scores
from fea.protocols.cases import Case

_AT_ONCE = 20_000  # faces whose counts are held before they are added to their rows: 64 MB
_CELLS = 20_000_000  # of draws times rows that are held at once: 160 MB
# Of a text's scores: what is added to what in REGE.
_REGE = {"rege_au": "au_f1", "rege_emotion": "accuracy"}


class Rows(NamedTuple):
    """Counts of each row.

    Attributes:
        aus: (G, N).
        emotions: (G, E, E + 1).
        grades: (G, U) sums of intensities.
        affect: (G, 2) sums of valence and arousal.
        texts: by name, (G, 2) sum of a text score and the faces that have it.
        folds: (G,) the fold of each row; 0 without folds.
        words: the E emotions.
        units: the U units that means are over.
        written: whether answers are texts, which have a form, and not rows of a table.
    """

    aus: AUCounts
    emotions: EmotionCounts
    grades: Moments
    affect: Moments
    texts: Mapping[str, Floats]
    folds: NDArray[np.int64]
    words: tuple[str, ...]
    units: tuple[int, ...]
    written: bool


def resampled_by(cases: Sequence[Case]) -> str:
    """What draws are made of: "subjects" if all are known and there are two at least, else "faces"."""
    people = {case.subject for case in cases}
    return "subjects" if None not in people and len(people) > 1 else "faces"


def rows_of(
    cases: Sequence[Case], words: tuple[str, ...], units: tuple[int, ...], texts: Mapping[str, Floats], by: str
) -> Rows:
    """Counts, a row a person or a face.

    Args:
        cases: F faces with their answers.
        words: the emotions.
        units: that means are over.
        texts: by name, (F,) scores of texts, NaN where there is no reference.
        by: "subjects" or "faces".
    """
    known: dict[object, int] = {}
    keys = [(case.fold, case.subject if by == "subjects" else number) for number, case in enumerate(cases)]
    row_F = np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)
    folds = np.zeros(len(known), dtype=np.int64)
    folds[row_F] = [case.fold or 0 for case in cases]

    def summed(values: Floats) -> Floats:
        rows = np.zeros((len(known), *values.shape[1:]))
        np.add.at(rows, row_F, values)
        return rows

    aus, emotions = _counted(cases, words, row_F, len(known))
    grades, affect = _grades(cases, units), _affect(cases)
    return Rows(
        aus,
        emotions,
        Moments(*map(summed, grades)),
        Moments(*map(summed, affect)),
        {name: summed(np.stack([np.nan_to_num(v), ~np.isnan(v)], axis=1)) for name, v in texts.items()},
        folds,
        words,
        units,
        any(case.answer.text for case in cases),
    )


def _counted(
    cases: Sequence[Case], words: tuple[str, ...], row_F: NDArray[np.int64], rows: int
) -> tuple[AUCounts, EmotionCounts]:
    size = len(words)
    aus = AUCounts(*np.zeros((4, rows, NUMBERS)), *np.zeros((3, rows)))
    emotions = EmotionCounts(np.zeros((rows, size, size + 1)), np.zeros((rows, size + 1)), *np.zeros((4, rows)))
    for start in range(0, len(cases), _AT_ONCE):
        part = cases[start : start + _AT_ONCE]
        places = row_F[start : start + _AT_ONCE]
        answers = [[case.answer] for case in part]
        judged = [_spoken_of(case) for case in part]
        for sums, counts in ((aus, count_aus(judged, answers)), (emotions, count_emotions(judged, answers, words))):
            for total, count in zip(sums, counts, strict=True):
                np.add.at(total, places, count)
    return aus, emotions


def _spoken_of(case: Case) -> Example:
    """The face with what the one who answered speaks of."""
    example = case.example
    if "AUs" not in case.says:
        example = example._replace(aus=None, coded=frozenset())
    return example if "emotion" in case.says else example._replace(labels=())


def _grades(cases: Sequence[Case], units: tuple[int, ...]) -> Moments:
    """(F, U); what is graded on both sides."""
    told, truth = np.full((2, len(cases), len(units)), np.nan)
    for face, case in enumerate(cases):
        for column, unit in enumerate(units):
            told[face, column] = case.grades.get(unit, np.nan)
            truth[face, column] = case.example.grades.get(unit, np.nan)
    return moments(told, truth)


def _affect(cases: Sequence[Case]) -> Moments:
    """(F, 2); valence and arousal that are told and known."""
    told = np.array([[case.valence, case.arousal] for case in cases], dtype=np.float64)
    truth = np.array([[case.example.valence, case.example.arousal] for case in cases], dtype=np.float64)
    return moments(told, truth)


def by_fold(rows: Rows, times: Floats | None = None) -> Iterator[tuple[int, Floats]]:
    """Each fold with how often its rows are taken, (D, G)."""
    every = np.ones((1, len(rows.folds))) if times is None else times
    for fold in np.unique(rows.folds).tolist():
        yield fold, every * (rows.folds == fold)


def scores_of(rows: Rows, times: Floats) -> dict[str, Floats]:
    """Scores of the faces of one fold.

    Args:
        rows: counts.
        times: (D, G) how often each row is taken.

    Returns:
        (D,) by name; what nothing is known of is left out, and NaN in single draws.
        au_f1, au_uar: means over the units of the protocol, and what else `counts.au_scores` gives.
        accuracy, emotion_f1, emotion_uar: as `counts.emotion_scores` gives them; format and alignment, too, of texts.
        icc, ccc_valence and others: as `numbers.number_scores` gives them, where answers tell them.
        rouge_l, rouge_l_rege: means over the faces with a reference; rege_au, rege_emotion: in points.
    """
    counted = np.zeros(NUMBERS, dtype=bool)
    counted[list(rows.units)] = True
    found = au_scores(pooled(rows.aus, times), counted)
    found.pop("uncoded", None)  # what is claimed outside the protocol's list is not judged
    emotions = emotion_scores(pooled(rows.emotions, times), rows.words)
    dropped = {"alignment"} if rows.written and not rows.words else set() if rows.written else {"format", "alignment"}
    found |= {n: value for n, value in emotions.items() if not n.startswith("answers/") and n not in dropped}
    grades, affect = (Moments(*(times @ part for part in sums)) for sums in (rows.grades, rows.affect))
    found |= number_scores(NumberSums(affect, grades))
    for name, sums in rows.texts.items():
        total = times @ sums
        found[name] = np.where(total[:, 1] > 0, total[:, 0] / np.maximum(total[:, 1], 1), np.nan)
    if "rouge_l_rege" in found:
        found |= {name: 100 * (found[of] + found["rouge_l_rege"]) for name, of in _REGE.items() if of in found}
    return found


def numbers(rows: Rows, times: Floats | None = None) -> dict[str, Floats]:
    """Scores of a protocol, (D,) by name: the means of its folds, and the `counts.overall` of these."""
    folds = [scores_of(rows, taken) for _, taken in by_fold(rows, times)]
    names = dict.fromkeys(name for scores in folds for name in scores)
    found = {name: mean_known(np.stack([s[name] for s in folds if name in s], axis=-1)) for name in names}
    ranked = [found[name] for name in SCORED if name in found]
    return found | ({"score": mean_known(np.stack(ranked, axis=-1))} if ranked else {})


def plain_numbers(scores: Mapping[str, Floats]) -> dict[str, float]:
    """Scores of one sum as numbers, with the one that policies are ranked by; those that are not known are left out."""
    found = {name: float(np.ravel(value)[0]) for name, value in scores.items()}
    found = {name: value for name, value in found.items() if not np.isnan(value)}
    score = overall(found)
    return found if score is None else {**found, "score": score}


def intervals(rows: Rows, draws: int, seed: int) -> dict[str, list[float]]:
    """The middle 95 % of each score over bootstrap draws, [low, high] by name; none where there is nothing to draw from."""
    parts: dict[str, list[Floats]] = {}
    for times in resampled(rows.folds, draws, seed):
        for name, values in numbers(rows, times).items():
            parts.setdefault(name, []).append(values)
    ends = {name: middle(np.concatenate(values)) for name, values in parts.items()}
    return {name: list(found) for name, found in ends.items() if found}


def middle(values: Floats) -> tuple[float, float] | None:
    """The ends of the middle 95 % of draws, those without a value left out; None if no draw has one."""
    if np.isnan(values).all():
        return None
    low, high = np.nanquantile(values, (0.025, 0.975))
    return float(low), float(high)


def resampled(folds: NDArray[np.int64], draws: int, seed: int) -> Iterator[Floats]:
    """Bootstrap draws, in parts that fit into memory.

    Args:
        folds: (G,) the fold of each row; of every fold as many rows are drawn as it has.
        draws: in all.
        seed: the same draws for the same one.

    Yields:
        (some draws, G) how often each row is drawn.
    """
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS // max(1, len(folds)))
    for start in range(0, draws, step):
        times = np.zeros((min(step, draws - start), len(folds)))
        for fold in np.unique(folds):
            inside = np.flatnonzero(folds == fold)
            times[:, inside] = generator.multinomial(
                len(inside), np.full(len(inside), 1 / len(inside)), size=len(times)
            )
        yield times
