"""How good a ranking of documents is, and how far an instruction moves it.

Every document has a grade r, 0 for one that is not wanted; i counts the places of a ranking from 1:

    DCG@k      sum over i <= k of r_i / log2(i + 1)                        linear gain, as trec_eval has it
    nDCG@k     DCG@k / DCG@k of the best order
    Recall@k   wanted documents among the first k / all wanted ones
    AP@k       sum over wanted i <= k of (wanted ones among the first i) / i, divided by all wanted ones
    p-MRR      mean over documents that the instruction makes unwanted, with i their place without it and j with it, of
                   1 - i / j  if it moves them down (i <= j),    j / i - 1  if it moves them up

p-MRR lies in [-1, 1]; 0 for an instruction that changes nothing (FollowIR, arXiv 2403.15246, section 4.3). Where a score is
the mean over queries, its interval comes from the bootstrap over these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fea.evaluation.counts import Floats
from fea.evaluation.intervals import Interval

Grades = NDArray[np.int64]
Numbers = NDArray[np.int64]


def ranked(scores: Floats, left_out: Sequence[int] = ()) -> Numbers:
    """Numbers of documents, the best first; of equal scores the one that stands first in the file.

    Args:
        scores: (D,) of the documents.
        left_out: numbers of those that have no place.
    """
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    return order[~np.isin(order, left_out)] if len(left_out) else order


def ndcg(order: Numbers, grades: Grades, k: int = 10) -> float:
    """nDCG@k.

    Args:
        order: numbers of documents, the best first.
        grades: (D,) of all that could have been found, those that are not in the order included.
        k: places that count.

    Returns:
        A number in [0, 1]; NaN if nothing is wanted, as for the others below.
    """
    best = _dcg(np.sort(grades)[::-1][:k])
    return _dcg(grades[order[:k]]) / best if best else np.nan


def recall(order: Numbers, grades: Grades, k: int = 100) -> float:
    """Recall@k; see `ndcg`."""
    wanted = int((grades > 0).sum())
    return int((grades[order[:k]] > 0).sum()) / wanted if wanted else np.nan


def average_precision(order: Numbers, grades: Grades, k: int = 10) -> float:
    """AP@k, whose mean over queries is MAP@k; see `ndcg`."""
    wanted = int((grades > 0).sum())
    hits = grades[order[:k]] > 0
    precisions = hits.cumsum() / np.arange(1, len(hits) + 1)
    return float(precisions[hits].sum()) / wanted if wanted else np.nan


def p_mrr(before: Numbers, after: Numbers, flipped: NDArray[np.bool_]) -> float:
    """How far an instruction moves down what it makes unwanted.

    Args:
        before: the order without the instruction; all documents that are flipped have a place in it.
        after: the order with it.
        flipped: (D,) which documents the words alone want, and the instruction does not.

    Returns:
        A number in [-1, 1], below 0 if it moves them up; NaN if there is none.
    """
    places = [_places(order, len(flipped))[flipped] for order in (before, after)]
    if not len(places[0]):
        return np.nan
    early, late = places
    return float(np.where(early <= late, 1 - early / late, late / early - 1).mean())


def interval(values: Sequence[float], draws: int = 2000, seed: int = 0) -> Interval:
    """The mean over queries with its 95 % interval: queries are drawn with replacement.

    Args:
        values: one a query; NaN for a query that says nothing.
        draws: bootstrap draws; see `intervals.differences`.
        seed: of the draws.

    Returns:
        NaN throughout without a query.
    """
    known = np.array([value for value in values if not np.isnan(value)])
    if not len(known):
        return Interval(np.nan, np.nan, np.nan)
    times = np.random.default_rng(seed).multinomial(len(known), np.full(len(known), 1 / len(known)), size=draws)
    low, high = np.quantile(times @ known / len(known), (0.025, 0.975))
    return Interval(float(known.mean()), float(low), float(high))


def _dcg(grades: Grades) -> float:
    return float((grades / np.log2(np.arange(2, len(grades) + 2))).sum())


def _places(order: Numbers, count: int) -> Floats:
    """(count,) place of each document, from 1; infinite for one that has none."""
    places = np.full(count, np.inf)
    places[order] = np.arange(1, len(order) + 1)
    return places
