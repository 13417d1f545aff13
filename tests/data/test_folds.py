"""Folds of people: who is trained on and who is tested on, and files with the folds that people are dealt to."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scoring import folded, write

from fea.cli import main
from fea.data.folds import dealt
from fea.data.mixture import Examples
from fea.data.module import FEADataModule
from fea.datasets.disfa import DISFA
from fea.errors import FEAError


def opened(data: FEADataModule, command: str) -> FEADataModule:
    state = SimpleNamespace(fn=SimpleNamespace(value=command))
    data.trainer = SimpleNamespace(state=state, global_rank=0, world_size=1)  # type: ignore[assignment]
    data.setup(command)
    return data


def people(data: FEADataModule, name: str) -> set[str]:
    examples = Examples(data.tables[name])
    return {json.loads(examples[number].meta)["subject"] for number in range(len(examples))}


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_a_fold_is_tested_on_and_all_others_are_learned_from(fold: int, tmp_path: Path) -> None:
    """The published folds follow from the names of the people, without a word in the file."""
    file = str(write(tmp_path / "disfa.jsonl", *folded("disfa-8", faces=2).labels))
    data = FEADataModule(train=[file], val=[file], test=[file], fold=fold)
    tested = people(opened(data, "test"), "test")
    assert tested == DISFA.folds[fold - 1]
    opened(data, "fit")
    assert people(data, "train") == people(data, "val") == set().union(*DISFA.folds) - tested


def test_the_fold_of_a_line_counts(tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "image": "x.png", "labels": ["fear"], "meta_info": {"subject": f"p{n}", "fold": 1 + n % 4}}
        for n in range(8)
    ]
    file = str(write(tmp_path / "own.jsonl", *rows))
    data = opened(FEADataModule(test=[file], fold=4), "test")
    examples = Examples(data.tables["test"])
    assert [examples[number].id for number in range(len(examples))] == ["3", "7"]


def test_balance_and_analyses_are_those_of_the_chosen_faces(tmp_path: Path) -> None:
    text = "<think>AU4</think><answer>fear</answer>"
    rows = [
        {"id": str(n), "image": "x.png", "labels": [["fear", "anger"][n % 3 == 0]], "meta_info": {"fold": 1 + n % 2},
         **({"description": text} if n < 6 else {})}
        for n in range(12)
    ]  # fmt: skip
    file = str(write(tmp_path / "own.jsonl", *rows))
    data = opened(FEADataModule(train=[file], fold=1), "fit")
    analysed = data.analyses()
    assert [analysed[number].id for number in range(len(analysed))] == ["1", "3", "5"]
    every = Examples(data.tables["train"])
    weights = every.balance("emotion")
    angry = np.array([every[number].labels == ("anger",) for number in range(len(every))])
    assert len(weights) == 6
    assert weights[angry].sum() == pytest.approx(weights[~angry].sum())


@pytest.mark.parametrize(
    ("meta", "fold", "told"),
    [
        ({}, 1, "data.fold: 1, but 4 of 4 faces of 'own.jsonl' are in no fold (the first: own.jsonl:1); make some"),
        ({"fold": 2}, 3, "data.fold: 3; the folds of data.train are 2"),
        ({"fold": 2}, 2, "data.fold: 2, and no face of data.train is in another one"),
    ],
)  # fmt: skip
def test_a_fold_that_is_not_there_is_refused(meta: dict[str, Any], fold: int, told: str, tmp_path: Path) -> None:
    rows = [{"id": str(n), "image": "x.png", "labels": ["fear"], "meta_info": meta} for n in range(4)]
    file = write(tmp_path / "own.jsonl", *rows)
    with pytest.raises(FEAError) as refused:
        opened(FEADataModule(train=[str(file)], fold=fold), "fit")
    assert told in str(refused.value).replace(f"{tmp_path}/", "")


# --- dealing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_people_are_dealt_evenly(seed: int) -> None:
    generator = np.random.default_rng(seed)
    persons = generator.integers(0, 60, 1200)
    persons = np.unique(persons, return_inverse=True)[1]
    labels = (generator.random((1200, 4)) < (0.5, 0.3, 0.1, 0.05)).astype(np.int64)
    folds = dealt(persons, labels, 5, seed)
    assert all(len(set(folds[persons == person])) == 1 for person in range(60))
    shares = np.array([[labels[folds == fold].sum(axis=0), [(folds == fold).sum()] * 4] for fold in range(1, 6)])
    assert np.abs(shares[:, 1, 0] / 1200 - 0.2).max() < 0.03
    assert np.abs(shares[:, 0] / labels.sum(axis=0) - 0.2).max() < 0.08


def told_folds(file: Path) -> dict[str, set[int]]:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    found: dict[str, set[int]] = {}
    for row in rows:
        found.setdefault(row["meta_info"]["subject"], set()).add(row["meta_info"]["fold"])
    return found


def test_folds_are_written_and_then_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    rows = [
        {"id": str(n), "image": f"img/{n}.png", "labels": [["fear", "anger", "disgust"][generator.integers(0, 3)]],
         "AUs": ["AU4"] if n % 2 else [], "meta_info": {"subject": f"p{n % 12}"}, "question": "What?"}
        for n in range(96)
    ]  # fmt: skip
    file, out = write(tmp_path / "own.jsonl", *rows), tmp_path / "folds.jsonl"
    assert main(["data", "folds", str(file), "-o", str(out), "--count", "4"]) == 0
    shown = capsys.readouterr().out
    assert "people dealt to 4 folds" in shown
    found = told_folds(out)
    assert len(found) == 12
    assert sorted(fold for (fold,) in map(tuple, found.values())) == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    first = json.loads(out.read_text().splitlines()[0])
    assert {**first, "meta_info": {"subject": "p0"}} == rows[0]
    assert people(opened(FEADataModule(test=[str(out)], fold=2), "test"), "test") == {
        p for p, f in found.items() if f == {2}
    }
    assert main(["data", "folds", str(file), "-o", str(out)]) == 2
    assert "exists; choose another name" in capsys.readouterr().err


def test_published_lists_come_before_dealing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = folded("disfa-8", faces=1).labels
    file = write(tmp_path / "in/disfa.jsonl", *lines)
    assert main(["data", "folds", str(file), "-o", str(tmp_path / "out/folds.jsonl")]) == 0
    shown = capsys.readouterr().out
    assert "published lists" in shown
    entry = f"'[{{file: {tmp_path / 'out/folds.jsonl'}, image_root: {tmp_path / 'in'}}}]'"
    assert shown.endswith(
        f"relative to '{tmp_path / 'in'}'; give it with the file: --data.train {entry} --data.test {entry}; "
        f"to commands such as fea data check: --image_root {tmp_path / 'in'}\n"
    )
    found = told_folds(tmp_path / "out/folds.jsonl")
    assert {person for person, folds in found.items() if folds == {1}} == DISFA.folds[0]
    lines[4]["meta_info"]["subject"] = "SN033"
    file = write(tmp_path / "in/more.jsonl", *lines)
    assert main(["data", "folds", str(file), "-o", str(tmp_path / "no.jsonl")]) == 2
    assert "more.jsonl:5: 'SN033' is in none of the published folds; leave that line out" in capsys.readouterr().err


def test_too_few_people_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": str(n), "image": "x.png", "labels": ["fear"], "meta_info": {"subject": "p"}} for n in range(9)]
    assert main(["data", "folds", str(write(tmp_path / "a.jsonl", *rows)), "-o", str(tmp_path / "b.jsonl")]) == 2
    assert "count: 5 folds of 1 people" in capsys.readouterr().err


def test_people_who_look_alike_are_in_one_fold(
    faces_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first twelve faces, each of a person, and copies of theirs without colors under other names."""
    lines = [json.loads(line) for line in faces_file.read_text().splitlines()[:12]]
    rows = []
    for number, line in enumerate(lines):
        image = Image.open(faces_file.parent / line["image"])
        for name, shown in ((f"a{number}", image), (f"b{number}", image.convert("L"))):
            shown.save(tmp_path / f"{name}.png")
            rows.append({"id": name, "image": f"{name}.png", "labels": ["fear"], "meta_info": {"subject": name}})
    rows.append({"id": "c", "image": "gone.png", "labels": ["fear"], "meta_info": {"subject": "b3"}})
    out = tmp_path / "folds.jsonl"
    assert main(["data", "folds", str(write(tmp_path / "own.jsonl", *rows)), "-o", str(out), "--count", "4"]) == 0
    shown = capsys.readouterr().out
    assert "12 images look like one of another person, such as " in shown
    assert "1 images are not there: whether they look like others is unknown" in shown
    folds = told_folds(out)
    assert [folds[f"a{number}"] == folds[f"b{number}"] for number in range(12)] == [True] * 12
    assert [len(found) for found in folds.values()] == [1] * 24
    assert len(set(map(tuple, folds.values()))) == 4
