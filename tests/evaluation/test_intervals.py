"""Scores of two policies on the same faces, and the interval of their difference."""

from __future__ import annotations

import numpy as np
import pytest

from fea.data.example import Example
from fea.evaluation.intervals import cohens_kappa, differences, judge, scores
from fea.evaluation.metrics import AUScores, EmotionScores
from fea.prompts.answer import Answer, parse, render

BASIC = ("anger", "fear", "happiness", "neutral")
CODED = frozenset({1, 4, 6, 12})


def face(aus: set[int], label: str = "happiness", coded: frozenset[int] = CODED) -> Example:
    codes = frozenset(f"AU{n}" for n in aus)
    return Example("", "", "", "", "", codes, coded, (label,), BASIC, None, {}, None, None, "{}")


def says(aus: set[int], emotion: str = "happiness") -> Answer:
    return parse(render(" ".join(f"AU{n}" for n in sorted(aus)) or "calm", emotion), BASIC)


def random_faces(count: int, seed: int) -> tuple[list[Example], list[list[Answer]]]:
    chance = np.random.default_rng(seed)
    units = sorted(CODED)
    faces = [face({n for n in units if chance.random() < 0.5}, str(chance.choice(BASIC))) for _ in range(count)]
    said = [
        [says({n for n in units if chance.random() < 0.5}, str(chance.choice(BASIC))) for _ in range(2)] for _ in faces
    ]
    return faces, said


def test_scores_equal_the_metrics_of_training() -> None:
    faces, said = random_faces(60, 0)
    units, emotions = AUScores(), EmotionScores(BASIC)
    for number in range(2):
        units.update([answers[number] for answers in said], faces)
        emotions.update([answers[number] for answers in said], faces)
    expected = {**units.compute(), **emotions.compute()}
    found = {name: float(values[0]) for name, values in scores(judge(faces, said)).items()}
    assert found == pytest.approx({name: float(value) for name, value in expected.items()}, abs=1e-6)


def test_a_unit_that_no_face_shows_does_not_lower_the_macro_f1() -> None:
    assert scores(judge([face({12})], [[says({12})]]))["au_f1"][0] == 1


def test_units_that_were_not_coded_are_not_invented() -> None:
    faces = [face({12}), face({12}, coded=frozenset({12}))]
    assert scores(judge(faces, [[says({12})], [says({12, 4})]]))["invented"][0] == 0
    assert scores(judge(faces, [[says({12, 4})], [says({12})]]))["invented"][0] == 0.5


def test_drawing_a_face_twice_is_the_same_as_having_it_twice() -> None:
    faces, said = random_faces(5, 1)
    drawn = np.array([[2.0, 0, 1, 0, 3]])
    order = [0, 0, 2, 4, 4, 4]
    repeated = scores(judge([faces[n] for n in order], [said[n] for n in order]))
    found = scores(judge(faces, said), drawn)
    assert {name: float(v[0]) for name, v in found.items()} == pytest.approx(
        {name: float(v[0]) for name, v in repeated.items()}, abs=1e-12
    )


def test_a_policy_does_not_differ_from_itself() -> None:
    faces, said = random_faces(30, 2)
    tally = judge(faces, said)
    assert set(differences(tally, tally).values()) == {(0.0, 0.0, 0.0)}


def test_the_interval_of_an_accuracy_is_that_of_a_binomial_share() -> None:
    """400 faces, of which the later policy gains 80 and loses 20: mean 0.15, variance (0.25 - 0.15 ** 2) / 400."""
    faces = [face({12})] * 400
    wrong, right = [says({12}, "fear")], [says({12})]
    before = [right] * 20 + [wrong] * 380
    after = [wrong] * 20 + [right] * 80 + [wrong] * 300
    mean, low, high = differences(judge(faces, after), judge(faces, before), draws=4000, seed=3)["accuracy"]
    half = 1.96 * ((0.25 - 0.15**2) / 400) ** 0.5
    assert mean == pytest.approx(0.15, abs=1e-12)
    assert (low, high) == pytest.approx((0.15 - half, 0.15 + half), abs=0.004)  # the noise of 4,000 draws


def test_draws_are_paired() -> None:
    """Both are right on the same hundred faces, the later one on eight more: unpaired draws would hide that."""
    faces = [face({12})] * 200
    wrong, right = [says({12}, "fear")], [says({12})]
    before = [right] * 100 + [wrong] * 100
    after = [right] * 108 + [wrong] * 92
    interval = differences(judge(faces, after), judge(faces, before))["accuracy"]
    assert interval.mean == pytest.approx(0.04)
    assert 0 < interval.low < interval.mean < interval.high < 0.08


def test_the_interval_depends_on_the_seed_alone() -> None:
    faces, said = random_faces(20, 4)
    late, early = judge(faces, said), judge(faces, said[::-1])
    assert differences(late, early, draws=100, seed=1) == differences(late, early, draws=100, seed=1)
    assert differences(late, early, draws=100, seed=1) != differences(late, early, draws=100, seed=2)


def test_a_draw_without_a_coded_face_does_not_count_for_the_units() -> None:
    """One of two faces is coded: a quarter of all draws miss it. The later policy is right about it, the earlier wrong."""
    faces = [face({12}), face(set(), coded=frozenset())._replace(aus=None)]
    late, early = judge(faces, [[says({12})]] * 2), judge(faces, [[says({6})]] * 2)
    both, other = np.array([[1.0, 1.0]]), np.array([[0.0, 2.0]])
    assert scores(late, np.concatenate([both, other]))["au_f1"].tolist() == pytest.approx([1.0, np.nan], nan_ok=True)
    assert differences(late, early, draws=200)["au_f1"] == (1.0, 1.0, 1.0)


def test_what_no_face_speaks_about_has_no_interval() -> None:
    faces = [face({12}), face({6})]
    tally = judge([one._replace(labels=()) for one in faces], [[says({12})]] * 2)
    assert {"au_f1", "format"} <= differences(tally, tally, draws=20).keys()
    assert "accuracy" not in differences(tally, tally, draws=20)


def test_a_policy_that_answered_nothing_is_not_compared() -> None:
    faces = [face({12}), face({6})]
    assert differences(judge(faces, [[says({12})]] * 2), judge(faces, [[]] * 2), draws=20) == {}


# --- agreement ---


def test_kappa_counted_by_hand() -> None:
    """Both yes 20, only the first 5, only the second 10, both no 15: agreed 0.7, by chance 0.5 0.6 + 0.5 0.4 = 0.5."""
    first = [True] * 20 + [True] * 5 + [False] * 10 + [False] * 15
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert cohens_kappa(first, second) == pytest.approx(0.4, abs=1e-12)
    assert cohens_kappa(second, first) == pytest.approx(0.4, abs=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "kappa"),
    [
        ([True, False], [False, True], -1.0),
        ([True, False], [True, False], 1.0),
        ([True, True], [True, False], 0.0),
        ([True, True], [True, True], None),
        ([False], [False], None),
        ([], [], None),
    ],
)
def test_kappa_at_its_ends(first: list[bool], second: list[bool], kappa: float | None) -> None:
    assert cohens_kappa(first, second) == kappa


@pytest.mark.parametrize("seed", range(5))
def test_kappa_equals_that_of_scikit_learn(seed: int) -> None:
    """`sklearn.metrics.cohen_kappa_score`: 1 - sum(w * confusion) / sum(w * expected), w being 1 off the diagonal."""
    chance = np.random.default_rng(seed)
    first = chance.random(40) < 0.3
    second = np.where(chance.random(40) < 0.7, first, chance.random(40) < 0.6)
    confusion = np.array([[np.sum((first == row) & (second == column)) for column in (0, 1)] for row in (0, 1)])
    expected = np.outer(confusion.sum(axis=1), confusion.sum(axis=0)) / confusion.sum()
    weights = 1 - np.eye(2)
    kappa = 1 - np.sum(weights * confusion) / np.sum(weights * expected)
    assert cohens_kappa(first.tolist(), second.tolist()) == pytest.approx(kappa, abs=1e-12)


def test_raters_of_different_cases_are_not_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        cohens_kappa([True, False], [True])
