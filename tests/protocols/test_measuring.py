"""Intervals over people and what is earned without looking."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scoring import folded, run, write
from sklearn.metrics import accuracy_score, f1_score, recall_score

WORDS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")


def emotional(
    count: int, people: int, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], np.ndarray, np.ndarray]:
    """Random faces whose answers are right by person: all of somebody's are, or none."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(7, count, p=[0.3, 0.05, 0.1, 0.25, 0.1, 0.1, 0.1])
    person = np.arange(count) % people
    good = generator.random(people) < 0.6
    said = np.where(good[person], truth, (truth + 1 + generator.integers(0, 6, count)) % 7)
    rows = [
        {"id": str(n), "dataset": "RAF-DB", "image": f"{n}.jpg", "labels": [WORDS[t]],
         "meta_info": {"subject": f"p{person[n]}", "gender": ["f", "m"][person[n] % 2], "age": "old"}}
        for n, t in enumerate(truth)
    ]  # fmt: skip
    answers = [{"id": str(n), "text": f"<think>x</think><answer>{WORDS[s]}</answer>"} for n, s in enumerate(said)]
    return rows, answers, truth, said


def scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: Any, answers: Any, draws: int = 400
) -> dict[str, Any]:
    files = write(tmp_path / "a.jsonl", *answers), write(tmp_path / "l.jsonl", *rows)
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    return run(capsys, files[0], "--protocol", "rafdb-7", "--labels", files[1], "--draws", draws, out=out).metrics


def test_emotions_are_scored_as_scikit_learn_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, answers, truth, said = emotional(300, 40, 1)
    found = scored(tmp_path, capsys, rows, answers, 0)
    assert found["scores"]["accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert found["scores"]["emotion_f1"] == pytest.approx(f1_score(truth, said, average="macro"))
    assert found["scores"]["emotion_uar"] == pytest.approx(recall_score(truth, said, average="macro"))
    counts = np.array(found["confusion"]["counts"])
    assert counts[:, -1].sum() == 0
    assert (counts.sum(axis=1) == np.bincount(truth)).all()
    assert found["emotions"]["anger"]["recall"] == pytest.approx((said[truth == 0] == 0).mean())


def test_people_who_are_alike_make_wide_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The draw of people is wider than that of faces by about the root of the faces a person has."""
    rows, answers, truth, said = emotional(600, 20, 3)
    by_person = scored(tmp_path, capsys, rows, answers, 2000)
    for row in rows:
        del row["meta_info"]["subject"]
    by_face = scored(tmp_path, capsys, rows, answers, 2000)
    assert (by_person["resampled"], by_face["resampled"]) == ("subjects", "faces")
    assert by_person["scores"] == by_face["scores"]
    generator, right = np.random.default_rng(9), (truth == said).reshape(-1, 20).T  # of each person
    means = [right[generator.integers(0, 20, 20)].mean() for _ in range(4000)]
    assert by_person["intervals"]["accuracy"] == pytest.approx(
        np.quantile(means, (0.025, 0.975)), abs=0.051
    )  # a person is 0.05
    flat = (truth == said).astype(float)
    means = [flat[generator.integers(0, 600, 600)].mean() for _ in range(4000)]
    assert by_face["intervals"]["accuracy"] == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=0.008)


def test_draws_keep_the_size_of_each_fold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = folded("disfa-8", faces=4)
    files = write(tmp_path / "a.jsonl", *faces.answers), write(tmp_path / "l.jsonl", *faces.labels)
    found = run(
        capsys, files[0], "--protocol", "disfa-8", "--labels", files[1], "--draws", 500, out=tmp_path / "o"
    ).metrics
    generator = np.random.default_rng(0)
    person = np.array([line["meta_info"]["subject"] for line in faces.labels])
    means = []
    for _ in range(500):
        folds = []
        for fold in (1, 2, 3):
            people = np.unique(person[faces.fold == fold])
            drawn = np.concatenate([np.flatnonzero(person == who) for who in generator.choice(people, len(people))])
            folds.append(f1_score(faces.truth[drawn], faces.claimed[drawn], average=None, zero_division=0).mean())
        means.append(np.mean(folds))
    assert found["intervals"]["au_f1"] == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=0.012)


def test_nobody_is_drawn_in_place_of_somebody_of_another_fold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one person a fold there is nothing to draw: the interval is the score."""
    faces = folded("disfa-8", faces=4)
    kept = [n for n, line in enumerate(faces.labels) if line["meta_info"]["subject"] in ("SN003", "SN013", "SN002")]
    files = (
        write(tmp_path / "a.jsonl", *(faces.answers[n] for n in kept)),
        write(tmp_path / "l.jsonl", *(faces.labels[n] for n in kept)),
    )
    found = run(
        capsys, files[0], "--protocol", "disfa-8", "--labels", files[1], "--draws", 20, out=tmp_path / "o"
    ).metrics
    assert found["intervals"]["au_f1"] == pytest.approx(2 * [found["scores"]["au_f1"]], abs=1e-12)


def test_subgroups_are_the_scores_of_their_faces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, answers, truth, said = emotional(300, 40, 1)
    found = scored(tmp_path, capsys, rows, answers, 100)["subgroups"]
    assert set(found) == {"gender"}  # one age for all tells nobody apart
    women = np.arange(300) % 40 % 2 == 0
    assert found["gender"]["f"]["faces"] == women.sum()
    assert found["gender"]["f"]["scores"]["accuracy"] == pytest.approx((truth == said)[women].mean())
    assert set(found["gender"]["m"]["intervals"]) >= {"accuracy", "emotion_f1"}


def test_the_majority_and_the_best_blind_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, answers, truth, _ = emotional(300, 40, 1)
    found = scored(tmp_path, capsys, rows, answers, 0)["baselines"]
    most = np.full(300, np.bincount(truth).argmax())
    assert found["majority"]["accuracy"] == found["blind"]["accuracy"] == pytest.approx(accuracy_score(truth, most))
    assert found["majority"]["emotion_f1"] == pytest.approx(f1_score(truth, most, average="macro", zero_division=0))
    share = np.bincount(truth) / 300

    def expected(rates: np.ndarray) -> float:
        return float((2 * share * rates / (share + rates)).mean())

    assert found["blind"]["emotion_f1"] == pytest.approx(expected(share))
    generator = np.random.default_rng(0)
    assert all(expected(generator.dirichlet(np.ones(7))) <= found["blind"]["emotion_f1"] + 1e-12 for _ in range(500))


def test_the_best_blind_claims_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Against all sets of units that could be claimed of every face."""
    shown = [["AU1"], ["AU1", "AU2"], ["AU1", "AU4"], ["AU4"], []] * 10
    rows = [{"id": str(n), "dataset": "RAF-AU", "image": f"{n}.jpg", "AUs": units} for n, units in enumerate(shown)]
    said = [{"id": str(n), "AUs": ["AU1"]} for n in range(50)]
    files = write(tmp_path / "a.jsonl", *said), write(tmp_path / "l.jsonl", *rows)
    found = run(capsys, files[0], "--protocol", "raf-au", "--labels", files[1], out=tmp_path / "out").metrics[
        "baselines"
    ]
    truth = np.array([[f"AU{u}" in units for u in (1, 2, 4)] for units in shown])
    sets = [np.tile(claims, (50, 1)) for claims in itertools.product((False, True), repeat=3)]
    for name, average in (("au_f1", "macro"), ("au_micro_f1", "micro")):
        best = max(f1_score(truth, claims, average=average, zero_division=0) for claims in sets)
        assert found["blind"][name] == pytest.approx(best)
    majority = np.tile(truth.mean(axis=0) > 0.5, (50, 1))
    assert found["majority"]["au_f1"] == pytest.approx(f1_score(truth, majority, average="macro", zero_division=0))
