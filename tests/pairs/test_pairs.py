"""`fea data pairs`: pairs of a run's own answers; the same bytes however often it was stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import fit
from PIL import Image

from fea.cli import main
from fea.data.example import Example
from fea.drawn.again import recalled
from fea.drawn.world import EVEN
from fea.pairs import making
from fea.pairs.choosing import preferred, rejected
from fea.pairs.counterfactual import Labeled, other_image
from fea.pairs.journal import Journal, images_of
from fea.pairs.recipe import PairRecipe
from fea.prompts.answer import Answer, parse, render

RECIPE = PairRecipe(samples=3, questions=0.5)


def said(example: Example, *units: int, emotion: str | None = None) -> Answer:
    thinking = " ".join(f"A sign shows (AU{unit})." for unit in units) or "The face is at rest."
    return parse(render(thinking, emotion or example.labels[0]), example.emotions)


def other_word(example: Example) -> str:
    return next(word for word in example.emotions if word not in example.labels)


@pytest.fixture
def face(examples: list[Example]) -> Example:
    """One that shows three units at least."""
    return next(example for example in examples if len(example.present) >= 3)


# --- which text is preferred to which ---


def test_the_best_right_answer_is_preferred_and_an_inventing_one_rejected(face: Example) -> None:
    first, *rest = sorted(face.present)
    absent = sorted(face.coded - face.present)
    right, partly, missing = said(face, first, *rest), said(face, first, *rest[:-1]), said(face, first)
    inventing, wild = said(face, first, *rest, absent[0]), said(face, *absent)
    chosen = preferred(face, [wild, partly, right, inventing], PairRecipe(tau=0.5))
    assert chosen is not None
    assert (chosen.answer, chosen.origin) == (right, "own")
    chance = np.random.default_rng(0)
    worse = rejected(face, [wild, missing, right, inventing], right, RECIPE, chance)
    assert worse is not None
    assert (worse.answer, worse.origin, worse.fault) == (
        inventing,
        "own",
        "invented",
    )  # the closest of those that invent
    worse = rejected(face, [right, missing, said(face, first, *rest, emotion=other_word(face))], right, RECIPE, chance)
    assert worse is not None
    assert (worse.answer, worse.fault) == (missing, "missed")


def test_a_text_that_is_wrong_or_without_form_is_never_preferred(face: Example) -> None:
    units = sorted(face.present)
    absent = min(face.coded - face.present)
    wrong = [
        said(face, *units, absent), said(face, *units, emotion=other_word(face)), said(face, units[0]),
        parse("<think>AU4", face.emotions),
    ]  # fmt: skip
    assert preferred(face._replace(analysis=None), wrong, RECIPE) is None
    written = preferred(face, wrong, RECIPE)
    assert written is not None
    assert (written.answer.text, written.origin) == (face.analysis, "reference")


def test_edits_only_fill_up(face: Example) -> None:
    right, chance = said(face, *sorted(face.present)), np.random.default_rng(3)
    filled = rejected(face, [right, right], right, RECIPE, chance)
    assert filled is not None
    assert filled.origin in ("units", "emotion")
    assert filled.answer.text != right.text
    assert rejected(face, [right, right], right, PairRecipe(edited=False), chance) is None


# --- images ---


def test_a_drawn_face_loses_a_unit_that_is_claimed(face: Example) -> None:
    claimed, drawn = frozenset(sorted(face.present)[:2]), recalled(face)
    assert drawn is not None
    found = {
        other.unit: other
        for seed in range(8)
        if (other := other_image(face, claimed, EVEN, Labeled([]), np.random.default_rng(seed)))
    }
    assert found.keys() == set(drawn.removable(claimed))
    for unit, other in found.items():
        assert other.how == "redrawn"
        assert unit is not None
        picture = drawn.without(unit)
        assert picture is not None
        assert np.array_equal(np.array(Image.open(BytesIO(other.picture))), np.array(picture))


def test_elsewhere_a_face_is_found_that_lacks_it_with_the_same_emotion_if_there_is_one(examples: list[Example]) -> None:
    asked = next(example for example in examples if example.present)
    unit = min(asked.present)
    for seed in range(5):
        found = other_image(asked, frozenset({unit}), None, Labeled(examples), np.random.default_rng(seed))
        assert found is not None
        other = next(example for example in examples if example.image == found.image)
        assert unit in other.coded - other.present
        alike = [e for e in examples if e.labels == asked.labels and unit not in e.present]
        assert not alike or other.labels == asked.labels
    at_rest = other_image(asked, frozenset(), None, Labeled(examples), np.random.default_rng(0))
    assert at_rest is not None
    assert next(example for example in examples if example.image == at_rest.image).labels != asked.labels


# --- the command ---


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned nothing; what it says is put into its mouth."""
    folder = tmp_path_factory.mktemp("run") / "sft"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.argv", ["fea"])
        fit("sft", folder, trainer__max_steps=1)
    return folder


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers: one that is right, one that invents, and one without form."""

    def answers(_: Any, prompts: Sequence[Any], *__: Any) -> dict[str, list[Answer]]:
        found = {}
        for prompt in prompts:
            face = prompt.example
            invented = min(face.coded - face.present)
            right = said(face, *sorted(face.present))
            faulty = [] if face.id.endswith("3") else [said(face, *sorted(face.present), invented)]
            found[face.place] = [parse("<think>", face.emotions), *faulty, *([] if face.id.endswith("7") else [right])]
        return found

    monkeypatch.setattr(making, "_answers", answers)


def command(run: Path, faces: Path, out: Path, *more: str) -> int:
    words = ["--batch_size", "5", "--num_workers", "0", "--recipe.questions", "0.5", *more]
    return main(["data", "pairs", str(run), str(faces), "-o", str(out), *words])


def test_pairs_are_written_reviewed_and_learned_from(
    run: Path, faces_file: Path, tmp_path: Path, spoken: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out, root = tmp_path / "pairs.jsonl", Path(os.path.commonpath([tmp_path, faces_file.parent]))
    lines = [json.loads(line) for line in faces_file.read_text().splitlines()]
    bare = tmp_path / "faces.jsonl"
    bare.write_text("".join(json.dumps({**line, "description": ""}) + "\n" for line in lines))
    assert command(run, bare, out, "--image_root", str(faces_file.parent)) == 0
    told = capsys.readouterr().out
    pairs = [json.loads(line) for line in out.read_text().splitlines()]
    tried = [json.loads(line) for line in out.with_name("pairs.jsonl.tried").read_text().splitlines()][1:]
    assert len(tried) == 24
    assert [entry["why"] for entry in tried if not entry["kept"]] == ["no answer is right"] * 2  # those that end in 7
    assert len(pairs) == 22
    assert "22 pairs of 24 faces" in told
    assert "no answer is right 2" in told
    assert {pair["meta_info"]["pair"]["rejected"].partition(",")[0] for pair in pairs} == {"own", "edited"}
    for pair in pairs:
        assert (root / pair["image"]).is_file()
        assert (root / pair["rejected"]["image"]).is_file()
        assert ("question" in pair["rejected"]) == ("visible" in pair["question"])
    assert 3 < sum("question" in pair["rejected"] for pair in pairs) < 18
    assert len(list(images_of(out).iterdir())) == 22
    assert f"the images are relative to '{root}'" in told
    source = f'[{{"file": "{out}", "image_root": "{root}"}}]'
    trained = fit("empo", tmp_path / "empo", data__train=source, model__init_from=run, trainer__max_steps=2)
    assert {"train/response_margin", "train/image_margin"} <= trained.trainer.callback_metrics.keys()


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    run: Path,
    faces_file: Path,
    tmp_path: Path,
    spoken: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    assert command(run, faces_file, whole) == 0
    add, added = Journal.add, []

    def dies(self: Journal, made: Any) -> None:
        added.append(1)
        if len(added) == 3:
            raise KeyboardInterrupt
        add(self, made)

    monkeypatch.setattr(Journal, "add", dies)
    assert command(run, faces_file, cut) == 130
    monkeypatch.setattr(Journal, "add", add)
    with cut.open("a") as stream:
        stream.write('{"id": "left of a bat')  # what a kill left
    assert command(run, faces_file, cut) == 0
    assert cut.read_bytes().replace(b"cut.images", b"whole.images") == whole.read_bytes()
    capsys.readouterr()
    assert command(run, faces_file, cut) == 0
    assert cut.read_bytes().replace(b"cut.images", b"whole.images") == whole.read_bytes()
    assert "faces 24/24, 100%" in capsys.readouterr().err  # though the last of five batches of five is short


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--recipe.seed", "1"], "was begun with other settings (seed)"),
        (["--recipe.tau", "2"], "recipe.tau: 2.0; give a number from 0 to 1"),
        (["--batch_size", "0"], "batch_size: 0"),
    ],
)
def test_what_stands_against_pairs_is_one_sentence(
    run: Path,
    faces_file: Path,
    tmp_path: Path,
    spoken: None,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    out = tmp_path / "pairs.jsonl"
    if "begun" in told:
        assert command(run, faces_file, out) == 0
    assert command(run, faces_file, out, *words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_files_of_others_are_not_written_over(
    run: Path, faces_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pairs.jsonl"
    out.write_text("mine\n")
    assert command(run, faces_file, out) == 2
    assert "was not written by fea data pairs; choose another name" in capsys.readouterr().err
    out.with_name("pairs.jsonl.tried").write_text('{"rounds": 3}\n')
    assert command(run, faces_file, out) == 2
    assert "was written by another command of fea" in capsys.readouterr().err
    out.with_name("pairs.jsonl.tried").write_text("{mine\n")
    assert command(run, faces_file, out) == 2
    assert "is damaged" in capsys.readouterr().err
    assert out.read_text() == "mine\n"


def test_lines_that_were_taken_away_are_noticed(
    run: Path, faces_file: Path, tmp_path: Path, spoken: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pairs.jsonl"
    assert command(run, faces_file, out) == 0
    out.write_text("".join(out.read_text().splitlines(keepends=True)[:-2]))
    assert command(run, faces_file, out) == 2
    assert "lines were taken away by hand" in capsys.readouterr().err
