"""How sure a difference is, and how far two raters agree.

Intervals come from the paired bootstrap (Efron & Tibshirani, 1993): faces are drawn with replacement, both policies are scored
on the same draw, and the middle 95 % of the differences are reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fea.data.example import Example
from fea.evaluation.counts import (
    AUCounts,
    EmotionCounts,
    Floats,
    au_scores,
    count_aus,
    count_emotions,
    emotion_scores,
    pooled,
)
from fea.evaluation.numbers import NumberSums, number_scores, number_sums, pooled_numbers
from fea.prompts.answer import Answer


class Tally(NamedTuple):
    """Counts of every face over its answers.

    Attributes:
        aus: of Action Units, a row a face.
        emotions: of emotions and form, a row a face.
        words: the allowed emotions, in the order of the columns.
        numbers: of valence, arousal and intensities, a row a face.
    """

    aus: AUCounts
    emotions: EmotionCounts
    words: tuple[str, ...]
    numbers: NumberSums


class Interval(NamedTuple):
    """A difference and its 95 % interval."""

    mean: float
    low: float
    high: float


def judge(examples: Sequence[Example], answers: Sequence[Sequence[Answer]]) -> Tally:
    """Counts answers, several a face; whatever is allowed for one face is allowed for all."""
    words = tuple(dict.fromkeys(word for example in examples for word in example.emotions))
    counts = count_aus(examples, answers), count_emotions(examples, answers, words)
    return Tally(*counts, words, number_sums(examples, answers))


def scores(tally: Tally, draws: Floats | None = None) -> dict[str, Floats]:
    """Scores over all faces, or over every bootstrap draw of them.

    Args:
        tally: the counts.
        draws: (D, F) how often each face is drawn; None for every face once.

    Returns:
        By name an array of D scores, those of `counts.au_scores`, `counts.emotion_scores` and `numbers.number_scores`.
    """
    times = np.ones((1, len(tally.emotions.total))) if draws is None else draws
    emotions = emotion_scores(pooled(tally.emotions, times), tally.words)
    return au_scores(pooled(tally.aus, times)) | emotions | number_scores(pooled_numbers(tally.numbers, times))


def differences(after: Tally, before: Tally, draws: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """How much each score changes from one policy to the other, with its interval.

    Args:
        after: counts of the later policy.
        before: counts of the earlier one, on the same faces.
        draws: bootstrap draws; 2,000 leave the ends uncertain by 1.5 % of the interval's width.
        seed: of the draws.

    Returns:
        By name, for the scores that both have. A draw without a face that speaks about a score does not count for it.
    """
    faces = len(before.emotions.total)
    times = np.random.default_rng(seed).multinomial(faces, np.full(faces, 1 / faces), size=draws).astype(np.float64)
    late, early = scores(after, times), scores(before, times)
    late_all, early_all = scores(after), scores(before)
    return {
        name: Interval(
            float(late_all[name][0] - early_all[name][0]),
            *map(float, np.nanquantile(late[name] - early[name], (0.025, 0.975))),
        )
        for name in late
        if name in early
    }


def cohens_kappa(first: Sequence[bool], second: Sequence[bool]) -> float | None:
    """Agreement of two raters on yes or no, beyond chance.

    kappa = (agreed - chance) / (1 - chance), chance being what raters agree on who say yes as often as these, but about
    anything (Cohen, "A coefficient of agreement for nominal scales", 1960).

    Args:
        first: what the first rater says of each case.
        second: what the second one says of the same cases.

    Returns:
        1 for full agreement, 0 for that of chance, at least -1; None where chance alone would agree on every case, or there
        is no case.
    """
    pairs = list(zip(first, second, strict=True))
    if not pairs:
        return None
    yes = [sum(said) / len(pairs) for said in (first, second)]
    agreed = sum(a == b for a, b in pairs) / len(pairs)
    chance = yes[0] * yes[1] + (1 - yes[0]) * (1 - yes[1])
    return None if chance == 1 else (agreed - chance) / (1 - chance)


def share_difference(after: Floats, before: Floats, draws: int = 2000, seed: int = 0) -> Interval:
    """How much a share changes from one policy to the other, with its interval.

    Args:
        after: (F, 2) of the later policy, a row a face: what is counted, and out of how many.
        before: of the earlier one, about the same faces.
        draws: bootstrap draws.
        seed: of the draws.
    """
    faces = len(before)
    times = np.random.default_rng(seed).multinomial(faces, np.full(faces, 1 / faces), size=draws).astype(np.float64)
    late, early = (times @ counts for counts in (after, before))
    with np.errstate(invalid="ignore"):  # a draw of faces about which there is nothing
        drawn = late[:, 0] / late[:, 1] - early[:, 0] / early[:, 1]
        whole = after.sum(axis=0), before.sum(axis=0)
        mean = whole[0][0] / whole[0][1] - whole[1][0] / whole[1][1]
    return Interval(float(mean), *map(float, np.nanquantile(drawn, (0.025, 0.975))))
