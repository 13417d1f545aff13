"""Scores of numbers beside words against plain computations, streamed and split; parts of compound emotions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from scoring import run, write
from test_dimensional import anova_icc

from fea.data.example import Example
from fea.drawn.affect import POSITIONS
from fea.drawn.faces import write_faces
from fea.evaluation.counts import count_emotions, emotion_scores, pooled
from fea.evaluation.intervals import differences, judge
from fea.evaluation.metrics import NumberScores
from fea.evaluation.numbers import added_numbers, number_scores, number_sums, pooled_numbers
from fea.facs import EMOTION_SETS
from fea.prompts.answer import Answer, parse
from fea.prompts.numbers import GRADES, NUMBERS

BASIC, COMPOUND = EMOTION_SETS["basic7"], EMOTION_SETS["compound11"]
TINY = 1e-6


def drawn(count: int, seed: int) -> tuple[list[Example], list[Answer], np.ndarray, np.ndarray]:
    """Faces and answers; (faces, 4) of valence, arousal and the grades of AU6 and AU12, told and true, NaN for unknown."""
    rng = np.random.default_rng(seed)
    faces: list[Example] = []
    answers: list[Answer] = []
    told, truth = np.full((2, count, 4), np.nan)
    for n in range(count):
        truth[n] = [*rng.uniform(-1, 1, 2).round(3), *rng.integers(0, 6, 2)]
        told[n, :2] = np.clip(truth[n, :2] + rng.normal(0.1, 0.3, 2), -1, 1).round(1)
        told[n, 2:] = np.clip(truth[n, 2:] + rng.integers(-1, 2, 2), 0, 5)
        there = {unit: grade for unit, grade in zip((6, 12), truth[n, 2:].tolist(), strict=True) if grade}
        units = ", ".join(f"AU{u}{GRADES[int(g) - 1]}" for u, g in zip((6, 12), told[n, 2:], strict=True) if g)
        said = f"happiness; valence {told[n, 0]}; arousal {told[n, 1]}"
        if n % 9 == 4:  # unreadable numbers are the middle of the range, an unreadable claim is none
            said, units, told[n] = "happiness; valence 7", "A smile.", (0, 0, 0, 0)
        known = n % 5 != 2
        truth[n, 0] = truth[n, 0] if known else np.nan
        faces.append(
            Example(
                str(n),
                "",
                "",
                "",
                "",
                frozenset(f"AU{unit}" for unit in there),
                frozenset({4, 6, 12}),
                ("happiness",),
                BASIC,
                None,
                {f"AU{unit}": grade for unit, grade in there.items()},
                float(truth[n, 0]) if known else None,
                float(truth[n, 1]),
                "{}",
            )
        )
        answers.append(parse(f"<think>{units}</think><answer>{said}</answer>", BASIC, numbers=NUMBERS))
    return faces, answers, told, truth


def expected_scores(told: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    found: dict[str, float] = {}
    for column, name in enumerate(("valence", "arousal")):
        known = ~np.isnan(truth[:, column])
        x, y = told[known, column], truth[known, column]
        both = ((x - x.mean()) * (y - y.mean())).mean()
        found[f"ccc_{name}"] = 2 * both / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
        found[f"pcc_{name}"] = pearsonr(x, y)[0]
        found[f"rmse_{name}"] = math.sqrt(((x - y) ** 2).mean())
        found[f"sagr_{name}"] = (np.sign(x) == np.sign(y)).mean()
    pairs = [(told[:, column], truth[:, column]) for column in (2, 3)]
    found["icc"] = float(np.mean([anova_icc(*pair) for pair in pairs]))
    found["pcc"] = float(np.mean([pearsonr(*pair)[0] for pair in pairs]))
    found["mse"] = float(np.mean([((x - y) ** 2).mean() for x, y in pairs]))
    found["mae"] = float(np.mean([np.abs(x - y).mean() for x, y in pairs]))
    return found


def test_scores_are_their_definitions_streamed_and_split() -> None:
    faces, answers, told, truth = drawn(60, 3)
    expected = expected_scores(told, truth)
    metric, parts = NumberScores(), []
    for start in range(0, 60, 7):
        batch = slice(start, start + 7)
        metric.update(answers[batch], faces[batch])
        parts.append(pooled_numbers(number_sums(faces[batch], [[answer] for answer in answers[batch]])))
    whole = number_scores(pooled_numbers(number_sums(faces, [[answer] for answer in answers])))
    split = number_scores(added_numbers(parts))
    streamed = metric.compute()
    assert set(whole) == set(split) == set(streamed) == set(expected)
    for name, value in expected.items():
        assert float(whole[name]) == pytest.approx(value, abs=TINY), name
        assert float(split[name]) == pytest.approx(value, abs=TINY), name
        assert float(streamed[name]) == pytest.approx(value, abs=1e-6), name


def test_sums_are_the_same_to_the_bit_whatever_processes_they_are_split_among() -> None:
    faces, answers, *_ = drawn(40, 5)
    one, two, whole = NumberScores(), NumberScores(), NumberScores()
    one.update(answers[:13], faces[:13])
    two.update(answers[13:], faces[13:])
    whole.update(answers, faces)
    assert torch.equal(one.sums + two.sums, whole.sums)
    assert whole.sums.dtype == torch.int64
    constant = NumberScores()
    same = [parse("<think>x</think><answer>fear; valence 0.3; arousal 0.3</answer>", BASIC, numbers=NUMBERS)] * 40
    constant.update(same, faces)
    assert float(constant.compute()["ccc_valence"]) == float(constant.compute()["pcc_valence"]) == 0


def test_what_is_not_asked_or_not_known_is_not_reported() -> None:
    faces, answers, *_ = drawn(8, 1)
    plain = [parse("<think>A smile (AU12).</think><answer>happiness</answer>", BASIC) for _ in faces]
    assert number_scores(pooled_numbers(number_sums(faces, [[one] for one in plain]))) == {}
    unknown = [face._replace(valence=None, arousal=None, intensities={}, coded=frozenset(), aus=None) for face in faces]
    assert number_scores(pooled_numbers(number_sums(unknown, [[one] for one in answers]))) == {}
    metric = NumberScores()
    metric.update(answers, unknown)
    assert metric.compute() == {}


def test_changes_have_intervals() -> None:
    faces, answers, told, truth = drawn(60, 7)
    wrong = [parse("<think>x</think><answer>fear; valence 0.1; arousal 0.1</answer>", BASIC, numbers=NUMBERS)] * 60
    found = differences(judge(faces, [[one] for one in answers]), judge(faces, [[one] for one in wrong]), draws=200)
    expected = expected_scores(told, truth)
    for name in ("ccc_valence", "ccc_arousal", "icc"):
        assert found[name].mean == pytest.approx(expected[name], abs=TINY)
        assert 0 < found[name].low < found[name].mean < found[name].high


def test_texts_that_tell_none_count_as_the_middle_in_a_file_of_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces, answers, told, truth = drawn(40, 2)
    labels = [
        {
            "id": face.id,
            "dataset": "AffectNet",
            "image": f"{face.id}.jpg",
            "labels": ["happiness"],
            "arousal": face.arousal,
        }
        for face in faces
    ]
    said = [{"id": face.id, "text": answer.text} for face, answer in zip(faces, answers, strict=True)]
    files = write(tmp_path / "a.jsonl", *said), write(tmp_path / "l.jsonl", *labels)
    ran = run(capsys, files[0], "--protocol", "affectnet-7", "--labels", files[1], out=tmp_path / "out")
    assert ran.code == 0, ran.error
    expected = expected_scores(told, truth)
    for name in ("ccc_arousal", "rmse_arousal", "sagr_arousal", "pcc_arousal"):
        assert ran.metrics["scores"][name] == pytest.approx(expected[name], abs=TINY)
    assert "ccc_valence" not in ran.metrics["scores"]
    assert "arousal CCC" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_of_compound_emotions_one_part_may_be_right() -> None:
    labels = ["happily surprised", "sadly fearful", "angrily disgusted", "fearfully surprised"]
    said = ["happily surprised", "sadly angry", "happily surprised", "angry"]
    faces = [
        Example(str(n), "", "", "", "", None, frozenset(), (label,), COMPOUND, None, {}, None, None, "{}")
        for n, label in enumerate(labels)
    ]
    answers = [[parse(f"<think>x</think><answer>{word}</answer>", COMPOUND)] for word in said]
    found = emotion_scores(pooled(count_emotions(faces, answers, COMPOUND)), COMPOUND)
    assert (float(found["both_parts"]), float(found["one_part"]), float(found["accuracy"])) == (0.25, 0.5, 0.25)
    assert float(found["emotion_f1"]) == pytest.approx((2 / 3 + 0 + 0 + 0) / 4)
    basic = emotion_scores(pooled(count_emotions(faces, answers, labels)), BASIC[:4])
    assert "both_parts" not in basic


def test_drawn_faces_tell_numbers_that_the_formula_makes(tmp_path: Path) -> None:
    from fea.demo.board import faces_of

    plain, told = (write_faces(tmp_path / f"{n}", 40, seed=3, size=28, numbers=n) for n in (False, True))
    lines = [file.read_text(encoding="utf-8").splitlines() for file in (plain, told)]
    assert "valence" not in lines[0][0]
    for face, other in zip(faces_of(told), faces_of(plain), strict=True):
        assert (face.aus, face.labels, face.intensities) == (other.aus, other.labels, other.intensities)
        strength = 0.1 + 0.9 * ((np.mean(list(face.intensities.values())) - 1) / 4 if face.intensities else 0)
        where = POSITIONS[face.labels[0]]
        assert face.affect == {
            "valence": pytest.approx(strength * where[0], abs=0.00501),
            "arousal": pytest.approx(strength * where[1], abs=0.00501),
        }
        true = parse(face.analysis or "", BASIC, numbers=NUMBERS)
        assert true.well_formed
        assert true.valence == pytest.approx(face.valence, abs=0.0501)
        assert {m.number: GRADES.index(m.grade) + 1 for m in true.mentions} == {
            n: g for n, g in face.grades.items() if g
        }
    biased = faces_of(write_faces(tmp_path / "biased", 60, seed=3, size=28, text="annotator", numbers=True))
    said = [parse(face.analysis or "", BASIC, numbers=NUMBERS) for face in biased]
    assert all(answer.well_formed for answer in said)
    assert len({(face.labels[0], answer.valence) for face, answer in zip(biased, said, strict=True)}) == 7
    scores = number_scores(pooled_numbers(number_sums(biased, [[answer] for answer in said])))
    assert 0.7 < float(scores["ccc_valence"]) < 0.93
    assert 0.8 < float(scores["icc"]) < 0.98
