"""Minimal pairs: one entity is swapped, and nothing else of the text."""

from __future__ import annotations

import numpy as np
import pytest

from fea.data.example import Example
from fea.facs import ACTION_UNITS
from fea.pairs.edits import CONFUSABLE, naming, stand_ins, with_other_emotion, with_other_unit, with_other_units
from fea.prompts.answer import parse

TEXT = (
    "<think>The brows are drawn together (AU4). The lids are tight (AU7). The lips are thin and tight (AU23). This points to "
    "anger.</think><answer>anger</answer>"
)


@pytest.fixture
def angry(examples: list[Example]) -> Example:
    units, coded = frozenset({"AU4", "AU7", "AU23"}), frozenset({1, 4, 5, 6, 7, 9, 12, 23, 24})
    return examples[0]._replace(aus=units, coded=coded, labels=("anger",))


def test_units_that_are_taken_for_each_other_are_so_both_ways() -> None:
    assert CONFUSABLE.keys() <= ACTION_UNITS.keys()
    assert CONFUSABLE[12] == (14, 20)
    assert CONFUSABLE[26] == (25, 27)
    assert all(unit in CONFUSABLE[other] for unit, others in CONFUSABLE.items() for other in others)


@pytest.mark.parametrize(("share", "swapped"), [(0.0, 1), (0.3, 1), (0.67, 2), (1.0, 3)])
def test_so_many_units_are_swapped_and_nothing_else(angry: Example, share: float, swapped: int) -> None:
    answer = parse(TEXT, angry.emotions)
    for seed in range(5):
        text = with_other_units(answer, angry, share, np.random.default_rng(seed))
        assert text is not None
        other = parse(text, angry.emotions)
        assert len(other.aus) == 3
        assert len(other.aus - answer.aus) == swapped
        assert not (other.aus - answer.aus) & angry.present
        assert (other.emotion, other.well_formed) == ("anger", True)


def test_a_unit_is_swapped_with_its_sign(angry: Example) -> None:
    alone = angry._replace(coded=frozenset({4, 7, 9, 23}))  # nothing but AU9 may be named in place of a unit
    found = {with_other_units(parse(TEXT), alone, 0.1, np.random.default_rng(seed)) for seed in range(20)}
    assert TEXT.replace("The brows are drawn together (AU4)", "The nose is wrinkled (AU9)") in found


def test_words_that_nobody_knows_stay(angry: Example) -> None:
    text = "<think>Something frowns here, AU4, and AU4 again.</think><answer>anger</answer>"
    face = angry._replace(coded=frozenset({4, 9}), aus=frozenset({"AU4"}))
    assert with_other_units(parse(text), face, 0.3, np.random.default_rng(0)) == text.replace("AU4", "AU9")


def test_there_may_be_nothing_to_swap(angry: Example) -> None:
    full = angry._replace(coded=angry.present)
    chance = np.random.default_rng(0)
    assert with_other_units(parse(TEXT), full, 0.3, chance) is None
    assert with_other_unit({4, 7}, full, chance) is None
    assert with_other_emotion(parse(TEXT), angry._replace(emotions=("anger",)), chance) is None


def test_the_emotion_is_swapped_wherever_it_stands(angry: Example) -> None:
    text = with_other_emotion(parse(TEXT, angry.emotions), angry, np.random.default_rng(1))
    assert text is not None
    other = parse(text, angry.emotions)
    assert other.emotion not in ("anger", None)
    assert "anger" not in text
    assert text.replace(str(other.emotion), "anger") == TEXT


def test_questions_name_units(angry: Example) -> None:
    assert naming({23, 4, 7}) == "AU4, AU7 and AU23 are visible; which emotion do they express, and why?"
    assert naming({4}) == "AU4 is visible; which emotion does it express, and why?"
    other = with_other_unit({4, 7, 23}, angry, np.random.default_rng(0))
    assert other is not None
    assert len(other & {4, 7, 23}) == 2
    assert not (other - {4, 7, 23}) & angry.present


def test_what_stands_in_is_known_not_to_be_there(angry: Example) -> None:
    assert stand_ins(4, angry, {4, 7, 23}) == [9]
    assert stand_ins(23, angry, {4, 7, 23}) == [24]
    assert stand_ins(23, angry, {4, 7, 23, 24}) == [1, 5, 6, 9, 12]  # 24 is named already: any other that is absent
