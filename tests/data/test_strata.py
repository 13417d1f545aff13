"""Groups dealt to two sides: even shares of every label, and every label on both sides where that is possible."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fea.data.strata import deal
from fea.drawn.drawing import DRAWN_AUS
from fea.drawn.faces import EMOTIONS, sample_expression


def world(lines: int, people: int) -> NDArray[np.int64]:
    """Labels of drawn people, (people, 1 + labels)."""
    held = np.zeros((people, 1 + len(EMOTIONS) + len(DRAWN_AUS)), dtype=np.int64)
    for number in range(lines):
        chance = np.random.default_rng([1, number])
        emotion, grades = sample_expression(chance)
        labels = [1, *(word == emotion for word in EMOTIONS), *(unit in grades for unit in DRAWN_AUS)]
        held[number % people if number < people else chance.integers(people)] += labels
    return held


def largest_deviation(held: NDArray[np.int64], chosen: NDArray[np.bool_], share: float) -> float:
    return float(np.abs(held[chosen].sum(0) / held.sum(0) - share).max())


@pytest.mark.parametrize(("people", "share"), [(1000, 0.1), (100, 0.1), (40, 0.2)])
def test_shares_are_closer_than_those_of_random_splits(people: int, share: float) -> None:
    held, chance = world(1000, people), np.random.default_rng(0)
    by_chance = []
    for _ in range(100):
        order = chance.permutation(people)
        chosen = np.zeros(people, dtype=bool)
        chosen[order[: np.searchsorted(held[order, 0].cumsum(), share * 1000) + 1]] = True
        by_chance.append(largest_deviation(held, chosen, share))
    for seed in range(3):
        chosen = deal(held, held, share, seed)
        assert largest_deviation(held, chosen, share) < 0.5 * np.mean(by_chance)
        assert abs(held[chosen, 0].sum() / 1000 - share) < 0.02


def test_a_label_of_two_people_is_on_both_sides_and_that_of_one_is_for_training() -> None:
    held = np.zeros((60, 4), dtype=np.int64)
    held[:, 0] = 5
    held[[7, 8], 1] = held[[8, 30], 2] = held[11, 3] = 1
    for seed in range(10):
        chosen = deal(held, held, 0.1, seed)
        assert chosen[8] != chosen[7] == chosen[30]
        assert not chosen[11]
        assert 5 * chosen.sum() == 30


def test_a_label_of_two_people_is_on_both_sides_even_if_both_have_too_many_lines() -> None:
    held = np.tile([2, 0], (60, 1))
    held[:2] = 100, 1
    for seed in range(10):
        chosen = deal(held, held, 0.05, seed)
        assert chosen[0] != chosen[1]
        assert chosen.sum() == 1


def test_people_with_all_lines_reviewed_come_first_and_the_train_set_keeps_its_share() -> None:
    held = np.tile([10, 10, 4], (40, 1))
    tested = held.copy()
    tested[:30] = 1
    assert np.flatnonzero(deal(held, tested, 0.2, 0)).min() >= 30
    tested[:] = 1  # to test on a fifth of all lines would cost all of them
    assert deal(held, tested, 0.2, 0).sum() == 8
    assert not deal(held, np.zeros_like(held), 0.2, 0).any()
