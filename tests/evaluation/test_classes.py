"""Numbers of each class, against hand-counted ones; and what a policy that forgets a rare class is worth."""

from __future__ import annotations

import pytest

from fea.data.example import Example
from fea.evaluation.classes import emotion_class_scores, emotion_shares, unit_scores, unit_shares
from fea.evaluation.counts import au_scores, count_aus, count_emotions, emotion_scores, overall, pooled
from fea.evaluation.metrics import AUScores, EmotionScores
from fea.prompts.answer import Answer, parse, render

WORDS = ("contempt", "fear", "happiness")


def face(aus: set[int] | None = None, label: str = "", coded: frozenset[int] = frozenset({1, 6, 12, 20})) -> Example:
    codes = None if aus is None else frozenset(f"AU{n}" for n in aus)
    known = frozenset() if aus is None else coded
    labels = (label,) if label else ()
    return Example("", "", "", "", "", codes, known, labels, WORDS, None, {}, None, None, "{}")


def says(aus: set[int], emotion: str = "happiness") -> Answer:
    return parse(render(" ".join(f"AU{n}" for n in sorted(aus)) or "calm", emotion), WORDS)


UNITS = (
    ([face({6, 12}), face({12}), face({20}), face(None), face({1}, coded=frozenset({1}))]),
    ([says({6, 12, 9}), says({6}), says({12}), says({20}), says({20})]),
)


def test_units_by_hand() -> None:
    sums = pooled(count_aus(UNITS[0], [[answer] for answer in UNITS[1]]))
    assert unit_scores(sums) == pytest.approx(
        {
            "f1/AU1": 0, "f1/AU6": 2 / 3, "f1/AU12": 1 / 2, "f1/AU20": 0,
            "recall/AU1": 0, "recall/AU6": 1, "recall/AU12": 1 / 2, "recall/AU20": 0,
        }
    )  # fmt: skip
    assert unit_shares(sums) == pytest.approx(
        {
            "claims/AU1": 0, "claims/AU6": 2 / 3, "claims/AU12": 2 / 3, "claims/AU20": 0,
            "present/AU1": 1 / 4, "present/AU6": 1 / 3, "present/AU12": 2 / 3, "present/AU20": 1 / 3,
        }
    )  # fmt: skip
    assert float(au_scores(sums)["au_uar"]) == pytest.approx((0 + 1 + 1 / 2 + 0) / 4)


def test_a_unit_that_is_never_there_has_no_recall() -> None:
    sums = pooled(count_aus([face({6})], [[says({6, 12})]]))
    assert unit_scores(sums) == {"f1/AU6": 1, "f1/AU12": 0, "recall/AU6": 1}
    assert unit_shares(sums)["claims/AU12"] == 1
    assert unit_shares(sums)["present/AU12"] == 0


def test_emotions_by_hand() -> None:
    faces = [face(label=word) for word in ("happiness", "happiness", "happiness", "fear")] + [face()]
    answers = [says(set(), word) for word in ("happiness", "happiness", "fear", "fear", "contempt")]
    sums = pooled(count_emotions(faces, [[answer] for answer in answers], WORDS))
    assert emotion_class_scores(sums, WORDS) == pytest.approx(
        {"f1/fear": 2 / 3, "f1/happiness": 4 / 5, "recall/fear": 1, "recall/happiness": 2 / 3}
    )
    assert emotion_shares(sums, WORDS) == {"labels/contempt": 0, "labels/fear": 1 / 4, "labels/happiness": 3 / 4}
    assert float(emotion_scores(sums, WORDS)["emotion_uar"]) == pytest.approx((1 + 2 / 3) / 2)


def test_metrics_of_training_have_the_same_numbers() -> None:
    aus, emotions = AUScores(), EmotionScores(WORDS)
    faces, answers = UNITS
    labeled = [one._replace(labels=("fear",)) for one in faces]
    for metric in (aus, emotions):
        metric.update(answers[:2], labeled[:2])
        metric.update(answers[2:], labeled[2:])
    sums = pooled(count_aus(labeled, [[answer] for answer in answers]))
    words = pooled(count_emotions(labeled, [[answer] for answer in answers], WORDS))
    for found, expected in (
        (aus.per_class(), unit_scores(sums)),
        (aus.shares(), unit_shares(sums)),
        (emotions.per_class(), emotion_class_scores(words, WORDS)),
        (emotions.shares(), emotion_shares(words, WORDS)),
    ):
        assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)


def test_what_nobody_labeled_has_no_number_of_its_own() -> None:
    assert unit_shares(pooled(count_aus([face(None)], [[says({12})]]))) == {}
    assert emotion_shares(pooled(count_emotions([face({12})], [[says({12})]], WORDS)), WORDS) == {}
    assert unit_scores(pooled(count_aus([], []))) == emotion_class_scores(pooled(count_emotions([], [], WORDS)), WORDS)


# --- the number by which checkpoints are chosen ---

SKEWED = [face({12}, "happiness")] * 80 + [face({12, 20}, "fear")] * 20


def worth(fear: float, claims: bool, happiness: float = 1.0) -> tuple[float, float]:
    """Accuracy and the number that ranks policies, of one that is right about so many frightened and happy faces."""
    right = {"fear": fear, "happiness": happiness}
    other = {"fear": "happiness", "happiness": "fear"}
    counted, answers = dict.fromkeys(right, 0), []
    for example in SKEWED:
        word = example.labels[0]
        counted[word] += 1
        total = sum(one.labels[0] == word for one in SKEWED)
        said = word if counted[word] <= right[word] * total else other[word]
        answers.append([says({12, 20} if claims and word == "fear" else {12}, said)])
    sums, words = pooled(count_aus(SKEWED, answers)), pooled(count_emotions(SKEWED, answers, WORDS))
    numbers = {name: float(value) for name, value in (au_scores(sums) | emotion_scores(words, WORDS)).items()}
    score = overall(numbers)
    assert score is not None
    return numbers["accuracy"], score


def test_a_policy_that_gains_accuracy_by_dropping_an_emotion_scores_lower() -> None:
    """One that tells fear from happiness takes some happy faces for frightened ones."""
    careful, dropped = worth(0.75, True, 0.85), worth(0.0, True, 1.0)
    assert careful[0] == pytest.approx(0.83)
    assert dropped[0] == pytest.approx(0.80)
    bold = worth(0.6, True, 0.8)
    assert bold[0] == pytest.approx(0.76)
    assert dropped[0] > bold[0]
    assert dropped[1] < bold[1] < careful[1]


def test_a_policy_that_drops_a_unit_scores_lower() -> None:
    assert worth(1.0, False)[1] < worth(1.0, True)[1] - 0.2


def test_the_score_is_made_of_what_is_known() -> None:
    assert overall({"au_f1": 0.5, "emotion_f1": 0.25, "accuracy": 0.9}) == 0.375
    assert overall({"au_f1": 0.5, "accuracy": 0.9}) == 0.5
    assert overall({"emotion_f1": 0.25}) == 0.25
    assert overall({"accuracy": 0.9, "format": 1.0}) is None
