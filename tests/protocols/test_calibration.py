"""Votes against what is right, with numbers by hand."""

from __future__ import annotations

import math

import pytest

from fea.data.example import Example
from fea.evaluation.votes import agreement
from fea.prompts.answer import parse, render
from fea.protocols.calibration import bins_of, calibration_error
from fea.protocols.cases import Case, case_of


def voted(example: Example, vote: float | None, right: bool) -> Case:
    known = example._replace(labels=("anger",), emotions=("anger", "fear"))
    return case_of(known, parse(render("So it is.", "anger" if right else "fear"), known.emotions))._replace(votes=vote)


def test_bins_hold_votes_and_the_share_that_is_right(examples: list[Example]) -> None:
    told = [
        (0.0, False),
        (0.2, True),
        (0.5, True),
        (0.5, False),
        (0.59, False),
        (0.6, True),
        (1.0, True),
        (1.0, False),
        (None, True),
    ]
    bins = bins_of([voted(examples[0], vote, right) for vote, right in told])
    assert [one.faces for one in bins] == [1, 1, 3, 1, 2]
    assert [one.right for one in bins] == pytest.approx([0, 1, 1 / 3, 1, 0.5])
    assert [one.vote for one in bins] == pytest.approx([0, 0.2, (0.5 + 0.5 + 0.59) / 3, 0.6, 1.0])
    assert [round(one.low, 9) for one in bins] == [0, 0.2, 0.4, 0.6, 0.8]
    gaps = [0, 0.8, abs(1 / 3 - 0.53), 0.4, 0.5]
    assert calibration_error(bins) == pytest.approx((gaps[0] + gaps[1] + 3 * gaps[2] + gaps[3] + 2 * gaps[4]) / 8)


def test_what_has_no_votes_or_no_label_is_in_no_bin(examples: list[Example]) -> None:
    case = voted(examples[0], 0.5, True)
    unlabeled = case._replace(example=case.example._replace(labels=()))
    assert bins_of([case._replace(votes=None), unlabeled, case._replace(says=frozenset({"AUs"}))]) == []
    assert math.isnan(calibration_error([]))


@pytest.mark.parametrize("count", [3, 5, 7, 8, 10])
def test_a_vote_on_an_edge_belongs_to_the_bin_that_begins_there(count: int, examples: list[Example]) -> None:
    for votes in range(count + 1):
        (full,) = [n for n, one in enumerate(bins_of([voted(examples[0], votes / count, True)])) if one.faces]
        assert full == min(votes * 5 // count, 4)


def test_a_vote_is_the_share_of_others_that_agree() -> None:
    one, same, other, none = (
        parse(text) for text in ("<answer>joy</answer>", "<answer>happy</answer>", "<answer>fear</answer>", "")
    )
    assert agreement(one, [same, other, none, one]) == 0.5
    assert agreement(none, [none, none]) == 0
