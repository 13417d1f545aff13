"""One ruler: counts and what is made of them, against plain Python, and its two users against each other."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from torch import Tensor

from fea.data.example import Example
from fea.evaluation.counts import (
    AUCounts,
    EmotionCounts,
    Floats,
    au_scores,
    count_aus,
    count_emotions,
    emotion_scores,
    f1,
    macro,
    pooled,
)
from fea.evaluation.intervals import judge, scores
from fea.evaluation.metrics import AUScores, EmotionScores
from fea.facs import nearest_emotions
from fea.prompts.answer import Answer, parse, render

BASIC = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
UNITS = (1, 4, 6, 9, 12, 25, 66)
Said = list[list[Answer]]


def face(
    aus: set[int] | None, labels: tuple[str, ...] = ("fear",), coded: frozenset[int] = frozenset(UNITS)
) -> Example:
    codes = None if aus is None else frozenset(f"AU{n}" for n in aus)
    known = frozenset() if aus is None else coded
    return Example("", "", "", "", "", codes, known, labels, BASIC, None, {}, None, None, "{}")


def says(aus: set[int], emotion: str = "fear") -> Answer:
    return parse(render(" ".join(f"AU{n}" for n in sorted(aus)) or "calm", emotion), BASIC)


def drawn_face(chance: random.Random) -> Example:
    """Some or no units coded; none, one or two labels."""
    coded = frozenset(chance.sample(UNITS, chance.randrange(len(UNITS) + 1)))
    present = {n for n in coded if chance.random() < 0.4}
    return face(present if coded else None, tuple(chance.sample(BASIC, chance.choice([0, 1, 1, 2]))), coded)


def drawn_answer(chance: random.Random, example: Example) -> Answer:
    """Half of the answers right, some of them unreadable; AU99 is in no table."""
    claimed = [n for n in (*UNITS, 99) if chance.random() < (0.7 if n in example.present else 0.2)]
    think = " ".join(f"AU{n}" for n in claimed) or chance.choice(["calm", " ", ""])
    word = chance.choice([*BASIC, "hungry", *example.labels * 4])
    text = chance.choice([*[render(think, word)] * 6, f"So: {render(think, word)}", f"<answer>{word}</answer>", think])
    return parse(text, BASIC)


def drawn_faces(count: int, seed: int) -> tuple[list[Example], Said]:
    chance = random.Random(seed)
    faces = [drawn_face(chance) for _ in range(count)]
    return faces, [[drawn_answer(chance, example) for _ in range(chance.randrange(4))] for example in faces]


def sums_of(faces: list[Example], said: Said) -> tuple[AUCounts, EmotionCounts]:
    return pooled(count_aus(faces, said)), pooled(count_emotions(faces, said, BASIC))


def numbers(faces: list[Example], said: Said) -> dict[str, float]:
    aus, emotions = sums_of(faces, said)
    return {name: float(value) for name, value in (au_scores(aus) | emotion_scores(emotions, BASIC)).items()}


def plain_f1(pairs: list[tuple[set[str], set[str]]], what: str) -> float:
    """F1 of one thing, from pairs of what was said and what is so."""
    hits = sum(what in said and what in so for said, so in pairs)
    return 2 * hits / (sum(what in said for said, _ in pairs) + sum(what in so for _, so in pairs))


def plain_recall(pairs: list[tuple[set[str], set[str]]], what: str) -> float:
    """Its recall, from the same pairs."""
    there = [what in said for said, so in pairs if what in so]
    return sum(there) / len(there)


def plainly(faces: list[Example], said: Said) -> dict[str, float]:
    """The numbers in plain Python, answer by answer."""
    pairs = [(answer, example) for example, answers in zip(faces, said, strict=True) for answer in answers]
    coded = [(a, e) for a, e in pairs if e.coded]
    units = [({str(n) for n in a.aus & e.coded}, {str(n) for n in e.present}) for a, e in coded]
    occurring = {n for _, present in units for n in present}
    hits, claims, there = (sum(map(len, sets)) for sets in zip(*((c & p, c, p) for c, p in units), strict=True))
    labeled = [(a.emotion or "", a.emotion if a.emotion in e.labels else e.labels[0]) for a, e in pairs if e.labels]
    words = [({word}, {str(label)}) for word, label in labeled]
    labels = {str(label) for _, label in labeled}
    readable = [a for a, _ in pairs if a.think and a.emotion in BASIC]
    counted = Counter(a.emotion if a.emotion in BASIC else "other" for a, _ in pairs)
    return {
        "au_f1": sum(plain_f1(units, n) for n in occurring) / len(occurring),
        "au_uar": sum(plain_recall(units, n) for n in occurring) / len(occurring),
        "au_micro_f1": 2 * hits / (claims + there),
        "au_precision": hits / claims,
        "au_recall": hits / there,
        "au_exact": sum(c == p and bool((a.think or "").strip()) for (a, _), (c, p) in zip(coded, units, strict=True))
        / len(coded),
        "invented": (claims - hits) / len(coded),
        "uncoded": sum(len(a.aus - e.coded) for a, e in coded) / len(coded),
        "accuracy": sum(word == label for word, label in labeled) / len(labeled),
        "emotion_f1": sum(plain_f1(words, word) for word in labels) / len(labels),
        "emotion_uar": sum(plain_recall(words, word) for word in labels) / len(labels),
        "format": sum(a.well_formed for a, _ in pairs) / len(pairs),
        "alignment": sum(a.emotion in nearest_emotions(a.aus, BASIC) for a in readable) / len(readable),
        **{f"answers/{word}": counted[word] / len(pairs) for word in (*BASIC, "other")},
    }


@pytest.mark.parametrize("seed", range(4))
def test_numbers_equal_plain_python(seed: int) -> None:
    faces, said = drawn_faces(150, seed)
    assert numbers(faces, said) == pytest.approx(plainly(faces, said), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_training_and_comparison_measure_the_same(seed: int) -> None:
    """Torchmetrics in batches of answers, and the bootstrap in one draw of every face once."""
    faces, said = drawn_faces(60, seed)
    pairs = [(answer, example) for example, answers in zip(faces, said, strict=True) for answer in answers]
    random.Random(seed).shuffle(pairs)
    aus, emotions = AUScores(), EmotionScores(BASIC)
    for start in range(0, len(pairs), 7):
        for metric in (aus, emotions):
            metric.update(*zip(*pairs[start : start + 7], strict=True))
    trained = {name: float(value) for name, value in (aus.compute() | emotions.compute()).items()}
    compared = {name: float(value) for name, (value,) in scores(judge(faces, said), np.ones((1, 60))).items()}
    assert trained == pytest.approx(compared, abs=1e-6)


def test_counts_of_a_face_by_hand() -> None:
    faces = [face({12}, ("fear", "surprise"), frozenset({12, 25})), face(None, ())]
    answers = [[says({12, 25, 9}), says({12}, "surprise")], [says({12}, "hungry")]]
    aus, emotions = count_aus(faces, answers), count_emotions(faces, answers, BASIC)
    assert {n: int(count) for n, count in enumerate(aus.hits[0]) if count} == {12: 2}
    assert {n: int(count) for n, count in enumerate(aus.claimed[0]) if count} == {12: 2, 25: 1}
    assert {n: int(count) for n, count in enumerate(aus.present[0]) if count} == {12: 2}
    assert [(int(aus.exact[n]), int(aus.uncoded[n]), int(aus.answers[n])) for n in (0, 1)] == [(1, 1, 2), (0, 0, 0)]
    fear, surprise, other = 2, 6, 7
    assert np.argwhere(emotions.confusion[0]).tolist() == [[fear, fear], [surprise, surprise]]
    assert (emotions.confusion[1].sum(), emotions.said[1, other], emotions.readable[1]) == (0, 1, 0)
    assert emotions.total.tolist() == [2, 1]


def test_what_no_face_speaks_about_is_left_out() -> None:
    nothing = numbers([face(None, ())], [[says({12})]])
    assert nothing.keys() == {"format", "alignment", *(f"answers/{word}" for word in (*BASIC, "other"))}
    assert numbers([face({12})], [[]]) == {}


def test_faces_that_say_nothing_about_a_number_do_not_change_it() -> None:
    faces, said = drawn_faces(80, 5)
    uncoded, unlabeled = face(None), face({12}, ())
    before = numbers(faces, said)
    with_uncoded = numbers([*faces, uncoded], [*said, [says({12})]])
    with_unlabeled = numbers([*faces, unlabeled], [*said, [says({6})]])
    aus, emotions = au_scores(sums_of(faces, said)[0]).keys(), ("accuracy", "emotion_f1", "emotion_uar")
    assert {name: with_uncoded[name] for name in aus} == {name: before[name] for name in aus}
    assert {name: with_unlabeled[name] for name in emotions} == {name: before[name] for name in emotions}
    assert with_unlabeled["invented"] != before["invented"]


def test_one_of_several_sums_may_say_nothing() -> None:
    faces = [face({12}), face(None)]
    aus = pooled(count_aus(faces, [[says({12})]] * 2), np.eye(2))
    assert au_scores(aus)["au_f1"].tolist() == pytest.approx([1, np.nan], nan_ok=True)


def test_sums_of_folds_add_up_to_one_pass() -> None:
    faces, said = drawn_faces(90, 6)
    folds = np.eye(3)[np.random.default_rng(0).integers(3, size=90)].T  # (fold, face)
    aus, emotions = count_aus(faces, said), count_emotions(faces, said, BASIC)
    by_fold = [*pooled(aus, folds), *pooled(emotions, folds)]
    at_once = [*pooled(aus), *pooled(emotions)]
    assert all(np.array_equal(parts.sum(axis=0), whole) for parts, whole in zip(by_fold, at_once, strict=True))


def test_a_subgroup_is_scored_as_if_it_were_alone() -> None:
    faces, said = drawn_faces(60, 7)
    chosen = [n for n in range(60) if n % 3 == 0]
    rows: Floats = np.isin(np.arange(60), chosen)[None].astype(np.float64)
    alone = numbers([faces[n] for n in chosen], [said[n] for n in chosen])
    assert {name: float(value) for name, (value,) in scores(judge(faces, said), rows).items()} == pytest.approx(alone)


def as_two_processes(mine: AUScores | EmotionScores, theirs: AUScores | EmotionScores, method: str) -> dict[str, float]:
    """What a method of `mine` gives when torchmetrics gathers the states of both, in their order."""
    states: Iterator[Tensor] = iter([getattr(theirs, name) for name in theirs._reductions])
    mine.dist_sync_fn = lambda state, group: [state, next(states)]
    mine.distributed_available_fn = lambda: True
    return numbers_by(mine, method)


def numbers_by(metric: AUScores | EmotionScores, method: str) -> dict[str, float]:
    return {name: float(value) for name, value in getattr(metric, method)().items()}


@pytest.mark.parametrize("kind", ["aus", "emotions"])
def test_two_processes_measure_what_one_does(kind: str) -> None:
    faces, said = drawn_faces(80, 8)
    pairs = [(answer, example) for example, answers in zip(faces, said, strict=True) for answer in answers]
    first, second, whole = (AUScores() if kind == "aus" else EmotionScores(BASIC) for _ in range(3))
    for metric, share in ((first, pairs[:30]), (second, pairs[30:]), (whole, pairs)):
        metric.update(*zip(*share, strict=True))
    for method in ("compute", "shares", "per_class"):
        assert as_two_processes(first, second, method) == numbers_by(whole, method)
        assert numbers_by(second, method) != numbers_by(whole, method)


def test_the_macro_rule_takes_any_list_of_units() -> None:
    """Three units, F1 1, 1/2 and 0; the last one never occurs, and counts only where the list is fixed."""
    hits, claimed, present = np.array([[2.0, 1, 0], [2, 2, 1], [2, 2, 0]])
    values = f1(hits, claimed, present)
    assert values.tolist() == [1, 0.5, 0]
    assert macro(values, present > 0) == 0.75
    assert macro(values, np.array([True, True, True])) == 0.5
    assert macro(values, np.array([False, False, False])) == 0


def test_an_answer_is_judged_without_torch() -> None:
    """Reviewers and checks of data files compare two sets of numbers: no reason to wait for a trainer."""
    rooms = ", ".join(f"fea.evaluation.{name}" for name in ("scores", "marks", "counts", "intervals"))
    code = f"import sys, {rooms}, fea.review.decisions; print(*sorted(m for m in sys.modules if m in {{'torch', 'lightning'}}))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.split() == []
