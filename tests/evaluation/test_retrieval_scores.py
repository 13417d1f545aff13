"""Scores of rankings, against trec_eval and against formulas that are written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval

from fea.evaluation.retrieval import average_precision, interval, ndcg, p_mrr, ranked, recall


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_trec_eval_ties_included(seed: int) -> None:
    chance = np.random.default_rng(seed)
    grades = chance.choice(4, 300, p=(0.7, 0.15, 0.1, 0.05)).astype(np.int64)
    scores = chance.integers(0, 40, 300) / 8  # few values, exact in any precision: most documents are tied
    # trec_eval puts the greater of two names first where scores are tied, and here the earlier document is first.
    names = [f"{999 - number}" for number in range(300)]
    grades_of = {name: int(grade) for name, grade in zip(names, grades, strict=True)}
    judge = pytrec_eval.RelevanceEvaluator({"q": grades_of}, {"ndcg_cut.10,300", "recall.100", "map_cut.10"})
    told = judge.evaluate({"q": dict(zip(names, scores.tolist(), strict=True))})["q"]
    order = ranked(scores)
    assert ndcg(order, grades) == pytest.approx(told["ndcg_cut_10"], abs=1e-9)
    assert ndcg(order, grades, 300) == pytest.approx(told["ndcg_cut_300"], abs=1e-9)
    assert recall(order, grades) == pytest.approx(told["recall_100"], abs=1e-9)
    assert average_precision(order, grades) == pytest.approx(told["map_cut_10"], abs=1e-9)
    assert 0 < told["map_cut_10"] < told["recall_100"] < 1


def test_a_document_that_is_not_ranked_is_missed() -> None:
    grades = np.array([2, 0, 1, 3])
    order = ranked(np.array([0.5, 0.1, 0.5, 0.9]), left_out=[3])
    assert order.tolist() == [0, 2, 1]
    best = 3 + 2 / math.log2(3) + 1 / 2
    assert ndcg(order, grades) == pytest.approx((2 + 1 / math.log2(3)) / best, abs=1e-12)
    assert recall(order, grades) == pytest.approx(2 / 3)
    assert average_precision(order, grades) == pytest.approx((1 + 1) / 3)


def test_nothing_wanted_is_no_score() -> None:
    none, order = np.zeros(3, dtype=np.int64), np.arange(3)
    assert all(math.isnan(score(order, none)) for score in (ndcg, recall, average_precision))
    assert math.isnan(p_mrr(order, order, np.zeros(3, dtype=bool)))


def test_p_mrr_counts_how_far_unwanted_documents_move() -> None:
    """FollowIR's formula by its cases: from place 1 to 4 it is 1 - (1/4) / (1/1), from 3 to 1 it is (1/3) / (1/1) - 1."""
    before, after = np.array([0, 1, 2, 3]), np.array([2, 1, 3, 0])
    flipped = np.array([True, False, True, False])
    assert p_mrr(before, after, flipped) == pytest.approx(((1 - 1 / 4) + (1 / 3 - 1)) / 2)
    assert p_mrr(before, before, flipped) == 0
    assert p_mrr(before, after[:3], np.array([True, False, False, False])) == 1  # not among what is ranked any more


def test_an_interval_holds_the_mean_and_narrows_with_queries() -> None:
    few, many = (interval(np.random.default_rng(0).random(count).tolist()) for count in (10, 1000))
    assert few.low < few.mean < few.high
    assert many.high - many.low < (few.high - few.low) / 5
    assert interval([0.5, math.nan, 0.5]) == (0.5, 0.5, 0.5)
    assert all(map(math.isnan, interval([math.nan])))
    assert interval([0.1, 0.9, 0.4], seed=1) == interval([0.1, 0.9, 0.4], seed=1)
