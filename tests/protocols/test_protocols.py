"""Protocols against an independent computation, and what does not fit them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scoring import FIXED, LISTS, folded, run, write
from sklearn.metrics import f1_score, precision_score, recall_score

from fea.cli import main
from fea.protocols.known import PROTOCOLS

TINY = 1e-9

# The test parts as ME-GraphAU lists them, written down here once more, from another copy of the lists.
PUBLISHED = {
    "bp4d-12": (
        "F004 F006 F007 F012 F014 F015 F017 F019 F021 M003 M006 M009 M015",
        "F003 F005 F011 F013 F020 F022 M002 M005 M010 M011 M013 M016 M017 M018",
        "F001 F002 F008 F009 F010 F016 F018 F023 M001 M004 M007 M008 M012 M014",
    ),
    "disfa-8": (
        "SN003 SN004 SN005 SN007 SN008 SN017 SN023 SN025 SN029",
        "SN006 SN011 SN012 SN013 SN018 SN021 SN024 SN028 SN031",
        "SN001 SN002 SN009 SN010 SN016 SN026 SN027 SN030 SN032",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_folds_are_those_that_are_published(name: str) -> None:
    assert PROTOCOLS[name].folds == tuple(frozenset(part.split()) for part in PUBLISHED[name])
    people = [person for part in PROTOCOLS[name].folds for person in part]
    assert len(people) == len(set(people)) == {"bp4d-12": 41, "disfa-8": 27}[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_scores_equal_those_of_scikit_learn(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = folded(name)
    order = np.random.default_rng(1).permutation(len(faces.labels))  # answers come as they come
    labels = write(tmp_path / "labels.jsonl", *faces.labels)
    answers = write(tmp_path / "answers.jsonl", *(faces.answers[i] for i in order))
    found = run(capsys, answers, "--protocol", name, "--labels", labels, out=tmp_path / "out").metrics
    per_fold = {}
    for fold in (1, 2, 3):
        inside = faces.fold == fold
        per_fold[fold] = f1_score(faces.truth[inside], faces.claimed[inside], average=None, zero_division=0)
        assert found["folds"][str(fold)]["au_f1"] == pytest.approx(per_fold[fold].mean(), abs=TINY)
    expected = np.stack(list(per_fold.values()))
    assert found["scores"]["au_f1"] == pytest.approx(expected.mean(), abs=TINY)
    assert 0.3 < expected.mean() < 0.8
    for column, unit in enumerate(FIXED[name]):
        own = found["units"][f"AU{unit}"]
        assert own["f1"] == pytest.approx(expected[:, column].mean(), abs=TINY)
        for key, measure in (("precision", precision_score), ("recall", recall_score)):
            values = [
                measure(faces.truth[faces.fold == f][:, column], faces.claimed[faces.fold == f][:, column])
                for f in (1, 2, 3)
            ]
            assert own[key] == pytest.approx(np.mean(values), abs=TINY)
        assert (own["support"], own["coded"]) == (faces.truth[:, column].sum(), len(faces.labels))
    assert found["faces"] == len(faces.labels)
    assert found["subjects"] == len(set().union(*LISTS[name].folds))
    assert found["resampled"] == "subjects"


def test_a_unit_that_no_face_of_a_fold_shows_counts_in_its_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = folded("bp4d-12", faces=2)
    for line, fold in zip(faces.labels, faces.fold, strict=True):
        if fold == 2:
            line["AUs"] = [code for code in line["AUs"] if code != "AU24"]
    truth = faces.truth.copy()
    truth[faces.fold == 2, -1] = False
    labels, answers = write(tmp_path / "l.jsonl", *faces.labels), write(tmp_path / "a.jsonl", *faces.answers)
    found = run(capsys, answers, "--protocol", "bp4d-12", "--labels", labels, out=tmp_path / "out").metrics
    own = f1_score(truth[faces.fold == 2], faces.claimed[faces.fold == 2], average=None, zero_division=0)
    assert own[-1] == 0
    assert found["folds"]["2"]["au_f1"] == pytest.approx(own.sum() / 12, abs=TINY)


def test_units_that_were_not_coded_on_a_face_are_not_judged_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = folded("bp4d-12", faces=3)
    hidden = np.random.default_rng(5).random((len(faces.labels), 12)) < 0.2
    for line, row in zip(faces.labels, hidden, strict=True):
        gone = {f"AU{unit}" for unit, off in zip(FIXED["bp4d-12"], row, strict=True) if off}
        line["AUs"] = [code for code in line["AUs"] if code not in gone]
        line["AUs_coded"] = [code for code in line["AUs_coded"] if code not in gone]
    labels, answers = write(tmp_path / "l.jsonl", *faces.labels), write(tmp_path / "a.jsonl", *faces.answers)
    found = run(capsys, answers, "--protocol", "bp4d-12", "--labels", labels, out=tmp_path / "out").metrics
    folds = [
        [
            f1_score(faces.truth[known, unit], faces.claimed[known, unit])
            for unit in range(12)
            for known in [(faces.fold == fold) & ~hidden[:, unit]]
        ]
        for fold in (1, 2, 3)
    ]
    assert found["scores"]["au_f1"] == pytest.approx(np.mean(folds), abs=TINY)


def changed(labels: list[dict[str, Any]], number: int, **changes: Any) -> list[dict[str, Any]]:
    return [{**line, **changes} if n == number else line for n, line in enumerate(labels)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dataset": "BP4D"}, "labels.jsonl:4 is of 'BP4D', and the protocol is about disfa"),
        ({"meta_info": {}}, "labels.jsonl:4 does not say who it shows, and folds are of people"),
        ({"meta_info": {"subject": "SN033"}}, "'SN033' (/labels.jsonl:4) is in none of its folds; leave that person out"),
        ({"meta_info": {"subject": "SN001", "fold": 1}}, "puts 'SN001' into fold 1, and the protocol tests"),
        ({"AU_intensities": {}, "meta_info": {"subject": "SN001", "threshold": 1}}, "counts units from 1 on, the"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(
    changes: dict[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = folded("disfa-8", faces=2)
    labels = write(tmp_path / "labels.jsonl", *changed(faces.labels, 3, **changes))
    ran = run(capsys, write(tmp_path / "a.jsonl", *faces.answers), "--protocol", "disfa-8", "--labels", labels)
    assert ran.code == 2
    assert told in ran.error.replace(str(tmp_path), "")
    assert ran.error.startswith("fea: error: protocol disfa-8: ")
    assert len(ran.error.splitlines()) == 1


def test_units_that_nobody_looked_for_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = folded("disfa-8", faces=1)
    for line in faces.labels:
        line["AUs_coded"] = [code for code in line["AUs_coded"] if code not in ("AU9", "AU26")]
        line["AUs"] = [code for code in line["AUs"] if code not in ("AU9", "AU26")]
        line["AU_intensities"] = {c: g for c, g in line["AU_intensities"].items() if c not in ("AU9", "AU26")}
        line["dataset"] = ""
    labels = write(tmp_path / "labels.jsonl", *faces.labels)
    ran = run(capsys, write(tmp_path / "a.jsonl", *faces.answers), "--protocol", "disfa-8", "--labels", labels)
    assert "protocol disfa-8: nobody looked for AU9, AU26 in the file" in ran.error


def test_an_unknown_protocol_is_refused_with_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(tmp_path / "a.jsonl"), "--protocol", "disfa8"]) == 2
    assert "there is no 'disfa8'; did you mean 'disfa-8'?" in capsys.readouterr().err


def test_grades_decide_by_the_threshold_of_the_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels that count from 1 on are scored from 2 on where the grades are there."""
    faces = folded("disfa-8", faces=3)
    for line in faces.labels:
        line["AUs"] = [code for code, grade in line["AU_intensities"].items() if grade >= 1]
        line["meta_info"]["threshold"] = 1
    labels, answers = write(tmp_path / "l.jsonl", *faces.labels), write(tmp_path / "a.jsonl", *faces.answers)
    found = run(capsys, answers, "--protocol", "disfa-8", "--labels", labels, out=tmp_path / "out").metrics
    expected = [
        f1_score(faces.truth[faces.fold == f], faces.claimed[faces.fold == f], average="macro") for f in (1, 2, 3)
    ]
    assert found["scores"]["au_f1"] == pytest.approx(np.mean(expected), abs=TINY)


def test_rare_units_of_an_open_list_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = [["AU1", "AU12"]] * 12 + [["AU1"]] * 10 + [["AU18"]] * 9
    rows = [
        {"id": str(n), "dataset": "RAF-AU", "image": f"{n}.jpg", "AUs": units, "labels": []}
        for n, units in enumerate(shown)
    ]
    said = [{"id": str(n), "AUs": ["AU12"]} for n in range(len(shown))]
    labels, answers = write(tmp_path / "l.jsonl", *rows), write(tmp_path / "a.jsonl", *said)
    found = run(capsys, answers, "--protocol", "raf-au", "--labels", labels, out=tmp_path / "out").metrics
    assert {unit: of["support"] for unit, of in found["units"].items()} == {"AU1": 22, "AU12": 12}
    assert found["scores"]["au_f1"] == pytest.approx((0 + 2 * 12 / (12 + 31)) / 2, abs=TINY)


@pytest.mark.parametrize(("name", "kept"), [("affectnet-7", 3), ("affectnet-8", 4)])
def test_contempt_is_judged_where_the_protocol_has_it(
    name: str, kept: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fear", "contempt", "anger", "fear"]
    rows = [
        {"id": str(n), "dataset": "AffectNet", "image": f"{n}.jpg", "labels": [word], "meta_info": {"split": "val"}}
        for n, word in enumerate(words)
    ]
    rows.append(
        {"id": "9", "dataset": "AffectNet", "image": "9.jpg", "labels": ["fear"], "meta_info": {"split": "train"}}
    )
    said = [{"id": row["id"], "emotion": "fear"} for row in rows]
    labels, answers = write(tmp_path / "l.jsonl", *rows), write(tmp_path / "a.jsonl", *said)
    ran = run(capsys, answers, "--protocol", name, "--labels", labels, out=tmp_path / "out")
    assert (ran.metrics["faces"], ran.metrics["scores"]["accuracy"]) == (kept, pytest.approx(2 / kept))
    assert ran.metrics["unmatched"]["the face is of the part 'train' (not judged)"] == {"count": 1, "examples": ["9"]}
    contempt = "the emotion is none of the protocol's: contempt (not judged)"
    assert (contempt in ran.metrics["unmatched"]) == (name == "affectnet-7")
    assert "au_f1" not in ran.metrics["scores"]


def test_lines_of_predictions_hold_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scoring `predictions.jsonl` without any labels gives the same again."""
    faces = folded("disfa-8", faces=2)
    labels, answers = write(tmp_path / "l.jsonl", *faces.labels), write(tmp_path / "a.jsonl", *faces.answers)
    first = run(
        capsys, answers, "--protocol", "disfa-8", "--labels", labels, "--draws", 50, out=tmp_path / "one"
    ).metrics
    again = run(
        capsys, tmp_path / "one/predictions.jsonl", "--protocol", "disfa-8", "--draws", 50, out=tmp_path / "two"
    ).metrics
    assert {**again, "model": None} == {**first, "model": None}
    line = json.loads((tmp_path / "one/predictions.jsonl").read_text().splitlines()[0])
    assert list(line)[:8] == ["id", "image", "text", "AUs", "emotion", "labels", "true_AUs", "AUs_coded"]
    assert line["subject"] == "SN001"


@pytest.mark.parametrize(("name", "people", "count"), [("RAF-DB", 10, 0), ("", 3, 2)])
def test_what_stands_against_comparing_is_noted(
    name: str, people: int, count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"id": str(n), "dataset": name, "image": f"{n}.jpg", "labels": ["fear"], "meta_info": {"subject": n % people}}
        for n in range(20)
    ]
    labels = write(tmp_path / "l.jsonl", *rows)
    answers = write(tmp_path / "a.jsonl", *({"id": row["id"], "emotion": "fear"} for row in rows))
    ran = run(capsys, answers, "--protocol", "rafdb-7", "--labels", labels, "--draws", 20, out=tmp_path / "out")
    notes = [
        "20 of 20 faces do not say of which data set they are ('dataset'): if not of raf-db, the numbers are not comparable "
        "with published ones",
        "intervals are drawn over 3 people; of fewer than 10 they are too narrow",
    ][:count]
    assert ran.metrics["notes"] == notes
    page = (tmp_path / "out/report.html").read_text()
    assert all(f"note: {note}\n" in ran.told and f"{note[:30]}" in page for note in notes)
    assert ran.told.count("note: ") == count
