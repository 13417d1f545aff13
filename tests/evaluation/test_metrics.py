"""The reported numbers against hand-counted ones and against plain Python on random answers."""

from __future__ import annotations

import random

import pytest

from fea.data.example import Example
from fea.evaluation.metrics import AUScores, EmotionScores
from fea.facs import PROTOTYPES, nearest_emotions
from fea.prompts.answer import Answer, parse, render

BASIC = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
ALL = frozenset({1, 4, 6, 12, 25})


def face(aus: set[int] | None = None, labels: tuple[str, ...] = (), coded: frozenset[int] = ALL) -> Example:
    codes = None if aus is None else frozenset(f"AU{n}" for n in aus)
    known = frozenset() if aus is None else coded
    return Example("", "", "", "", "", codes, known, labels, BASIC, None, {}, None, None, "{}")


def says(aus: set[int], emotion: str = "neutral") -> Answer:
    return parse(render(" ".join(f"AU{n}" for n in sorted(aus)) or "calm", emotion), BASIC)


def au_numbers(*pairs: tuple[Answer, Example]) -> dict[str, float]:
    scores = AUScores()
    scores.update(*zip(*pairs, strict=True))
    return {name: float(value) for name, value in scores.compute().items()}


def emotion_numbers(*pairs: tuple[Answer, Example]) -> dict[str, float]:
    scores = EmotionScores(BASIC)
    scores.update(*zip(*pairs, strict=True))
    return {name: float(value) for name, value in scores.compute().items()}


def test_action_units_counted_by_hand() -> None:
    found = au_numbers(
        (says({6, 12}), face({6, 12})),  # right
        (says({12, 25}), face({12})),  # 25 invented
        (says({1}), face({4})),  # 1 invented, 4 missed
        (says(set()), face(set())),  # right
    )
    # AU4 0, AU6 1, AU12 1; AU1 and AU25 never occur. 3 hits of 5 claims and 4 present units.
    assert found == pytest.approx(
        {
            "au_f1": 2 / 3, "au_uar": 2 / 3, "au_micro_f1": 6 / 9, "au_precision": 3 / 5, "au_recall": 3 / 4, "au_exact": 2 / 4,
            "invented": 2 / 4, "uncoded": 0.0,
        },
        abs=1e-6,
    )  # fmt: skip


def test_units_that_nobody_coded_are_watched_but_not_judged() -> None:
    found = au_numbers((says({12, 1, 9}), face({12}, coded=frozenset({12, 25}))), (says({9}), face(None)))
    assert (found["au_precision"], found["invented"], found["uncoded"]) == (1.0, 0.0, 2.0)


def test_nothing_coded_gives_no_number() -> None:
    assert au_numbers((says({12}), face(None))) == {}


def test_an_answer_without_thinking_is_never_exact() -> None:
    assert au_numbers((parse("<answer>neutral</answer>"), face(set())))["au_exact"] == 0
    assert au_numbers((parse("<think> </think><answer>neutral</answer>"), face(set())))["au_exact"] == 0


def test_action_units_equal_plain_python_on_random_answers() -> None:
    chance = random.Random(0)
    units = sorted(ALL | {2, 5, 9, 15})
    pairs = []
    for _ in range(200):
        coded = frozenset(chance.sample(units, chance.randrange(len(units) + 1)))
        present = {n for n in coded if chance.random() < 0.4}
        claimed = {n for n in units if chance.random() < (0.7 if n in present else 0.2)}
        pairs.append((says(claimed), face(present if coded else None, coded=coded)))
    judged = [(a.aus & e.coded, e.present, a.aus - e.coded) for a, e in pairs if e.coded]

    def f1(unit: int) -> float:
        hits = sum(unit in c and unit in p for c, p, _ in judged)
        misses = sum((unit in c) != (unit in p) for c, p, _ in judged)
        return 2 * hits / (2 * hits + misses)

    def recall(unit: int) -> float:
        return sum(unit in c and unit in p for c, p, _ in judged) / sum(unit in p for _, p, _ in judged)

    hits, claims, there = (sum(map(len, sets)) for sets in zip(*((c & p, c, p) for c, p, _ in judged), strict=True))
    occurring = {n for _, p, _ in judged for n in p}
    assert au_numbers(*pairs) == pytest.approx(
        {
            "au_f1": sum(map(f1, occurring)) / len(occurring),
            "au_uar": sum(map(recall, occurring)) / len(occurring),
            "au_micro_f1": 2 * hits / (claims + there),
            "au_precision": hits / claims,
            "au_recall": hits / there,
            "au_exact": sum(c == p for c, p, _ in judged) / len(judged),
            "invented": (claims - hits) / len(judged),
            "uncoded": sum(len(u) for *_, u in judged) / len(judged),
        },
        abs=1e-6,
    )


def test_the_confusion_matrix_counts_label_by_answer() -> None:
    scores = EmotionScores(BASIC)
    scores.update(
        [says(set(), "fear"), says(set(), "joy"), says(set(), "hungry"), says(set(), "surprise"), says(set(), "anger")],
        [
            face(labels=("fear",)), face(labels=("fear",)), face(labels=("anger",)),
            face(labels=("fear", "surprise")), face(),
        ],
    )  # fmt: skip
    counted = {(row, column): int(n) for row, line in enumerate(scores.confusion) for column, n in enumerate(line) if n}
    anger, fear, happy, surprise, other = 0, 2, 3, 6, 7
    assert counted == {(fear, fear): 1, (fear, happy): 1, (anger, other): 1, (surprise, surprise): 1}


def test_emotions_counted_by_hand() -> None:
    found = emotion_numbers(
        (says({6, 12}, "happiness"), face(labels=("happiness",))),
        (says({6, 12}, "fear"), face(labels=("happiness",))),
        (says(set(), "fear"), face(labels=("fear",))),
        (parse("<answer>fear</answer>", BASIC), face(labels=("anger",))),
        (says({9}, "anger"), face()),  # unknown label: counts for the form alone
    )
    # happiness: 1 of 2, precise: 2/3; fear: 1 of 1, three times said: 1/2; anger: never right.
    assert found["accuracy"] == pytest.approx(2 / 4)
    assert found["emotion_f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found["emotion_uar"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["format"] == pytest.approx(4 / 5)
    assert found["alignment"] == pytest.approx(1 / 4)  # of those with thinking: happiness from 6+12
    assert [found[f"answers/{word}"] for word in ("happiness", "fear", "anger", "other")] == pytest.approx(
        [0.2, 0.6, 0.2, 0.0]
    )


def test_emotions_equal_plain_python_on_random_answers() -> None:
    chance = random.Random(1)
    pairs = []
    for _ in range(300):
        said = chance.choice([*BASIC, "hungry", ""])
        labels = tuple(chance.sample(BASIC, chance.choice([0, 1, 1, 1, 2])))
        pairs.append((says(set(chance.choice([*PROTOTYPES["fear"], {6, 12}])), said), face(labels=labels)))
    known = [(a.emotion, a.emotion if a.emotion in e.labels else e.labels[0]) for a, e in pairs if e.labels]

    def f1(word: str) -> float:
        hits = sum(said == label == word for said, label in known)
        return 2 * hits / (sum(said == word for said, _ in known) + sum(label == word for _, label in known))

    labels = {label for _, label in known}
    readable = [a for a, _ in pairs if a.emotion in BASIC]
    found = emotion_numbers(*pairs)
    assert found["accuracy"] == pytest.approx(sum(said == label for said, label in known) / len(known), abs=1e-6)
    assert found["emotion_f1"] == pytest.approx(sum(map(f1, labels)) / len(labels), abs=1e-6)
    assert found["alignment"] == pytest.approx(
        sum(a.emotion in nearest_emotions(a.aus, BASIC) for a in readable) / len(readable), abs=1e-6
    )
    assert found["answers/other"] == pytest.approx(1 - len(readable) / len(pairs), abs=1e-6)


def test_unknown_labels_give_no_accuracy() -> None:
    found = emotion_numbers((says(set(), "fear"), face()))
    assert "accuracy" not in found
    assert "emotion_f1" not in found
    assert found["format"] == 1


def test_counts_start_again_after_a_reset() -> None:
    scores = AUScores()
    scores.update([says({1})], [face({12})])
    scores.reset()
    scores.update([says({12})], [face({12})])
    assert float(scores.compute()["au_f1"]) == 1
