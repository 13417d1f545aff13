"""`fea analyze` on a run of the real command line: a row for every image, whatever the image."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from conftest import fit
from PIL import Image

import fea
from fea.analysis.tables import Result, result_of
from fea.cli import main
from fea.commands.analyze import analyze
from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.model.checkpoints import load_policy
from fea.model.sampling import Generation, noise
from fea.prompts.answer import Answer, parse, render
from fea.rollouts.rollout import ask


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of two optimizer steps, and the faces that it saw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["fea"])
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "cache")
        out = tmp_path_factory.mktemp("analyze") / "run"
        fit("sft", out, trainer__max_steps=2)
    return out


@pytest.fixture
def images(run: Path, tmp_path: Path) -> Path:
    """A folder with two good images in two formats, a damaged one and a text file."""
    folder = tmp_path / "images"
    folder.mkdir()
    first, second = sorted((run.parent / "faces" / "val-4" / "images").glob("*.png"))[:2]
    shutil.copy(first, folder / "a.png")
    Image.open(second).save(folder / "B.JPG")
    (folder / "c.png").write_bytes(first.read_bytes()[:300])
    (folder / "notes.txt").write_text("no image")
    return folder


def test_every_image_has_a_row_and_a_damaged_one_says_why(
    run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "answers.csv"
    assert main(["analyze", str(images), "--model", str(run), "--out", str(out), "--max_tokens", "6"]) == 2
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["image"]).name for row in rows] == ["B.JPG", "a.png", "c.png"]
    assert list(rows[0]) == ["image", "AUs", "emotion", "reasoning", "valid", "text", "error"]
    assert [row["error"] for row in rows[:2]] == ["", ""]
    assert rows[2]["error"] == f"image '{images / 'c.png'}' cannot be read (image file is truncated)"
    assert rows[0]["text"]
    told = capsys.readouterr().err
    assert "this model has seen drawn faces only" in told
    assert "3/3" in told


def test_a_missing_image_is_a_row_too(run: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze(["nowhere.png", str(images / "a.png")], model=str(run), max_tokens=4) == 2
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert [bool(row["error"]) for row in rows] == [True, False]
    assert rows[0]["error"] == "image 'nowhere.png' does not exist"


def test_json_lines_hold_the_same_answers(run: Path, images: Path, tmp_path: Path) -> None:
    good = [str(images / "B.JPG"), str(images / "a.png")]
    assert analyze(good, model=str(run), out=str(tmp_path / "a.csv"), max_tokens=6) == 0
    assert analyze(good, model=str(run), out=str(tmp_path / "a.jsonl"), max_tokens=6, batch_size=1) == 0
    with (tmp_path / "a.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().split("\n")[:-1]]
    assert [{**line, "AUs": " ".join(line["AUs"]), "valid": str(line["valid"])} for line in lines] == table


def test_a_row_holds_what_the_answer_claims() -> None:
    text = render("Cheeks up (AU6), AU12, no AU1.", "Happy")
    result = result_of("a.png", parse(text, ("happiness",)))
    assert result == Result(
        "a.png", ("AU6", "AU12"), "happiness", "Cheeks up (AU6), AU12, no AU1.", True, text, error=""
    )
    assert list(result.row.items()) == [
        ("image", "a.png"), ("AUs", ["AU6", "AU12"]), ("emotion", "happiness"),
        ("reasoning", "Cheeks up (AU6), AU12, no AU1."), ("valid", True), ("text", text), ("error", ""),
    ]  # fmt: skip


def test_python_is_told_what_the_command_writes(run: Path, images: Path, tmp_path: Path) -> None:
    analyzer = fea.load(run)
    results = analyzer.analyze(images, max_tokens=6, batch_size=2)
    out = tmp_path / "a.jsonl"
    assert analyze([str(images)], model=str(run), out=str(out), max_tokens=6) == 2
    assert [json.loads(line) for line in out.read_text().split("\n")[:-1]] == [result.row for result in results]
    assert [Path(result.image).name for result in results] == ["B.JPG", "a.png", "c.png"]
    assert results[2] == Result(str(images / "c.png"), error=results[2].error)
    assert "cannot be read" in results[2].error
    backwards = analyzer.analyze([images / "c.png", images / "a.png", images / "B.JPG"], max_tokens=6)
    assert backwards == results[::-1]


def test_python_is_refused_what_the_command_is(run: Path, images: Path, tmp_path: Path) -> None:
    with pytest.raises(fea.FEAError, match=r"'.*nowhere' holds no checkpoint"):
        fea.load(tmp_path / "nowhere")
    analyzer = fea.load(run)
    with pytest.raises(fea.FEAError, match="max_tokens: 0; give at least 1"):
        analyzer.analyze(images / "a.png", max_tokens=0)
    with pytest.raises(fea.FEAError, match=f"no image in {tmp_path}"):
        analyzer.analyze(tmp_path)


def test_a_model_that_has_seen_more_than_drawings_makes_no_note(
    run: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, trained = load_policy(str(run))
    assert trained.datasets == {"faces"}
    monkeypatch.setattr(
        "fea.analysis.analyzer.load_policy",
        lambda *_: (policy, replace(trained, datasets=frozenset({"DISFA", "faces"}))),
    )
    assert analyze([str(images / "a.png")], model=str(run), max_tokens=2) == 0
    assert "note" not in capsys.readouterr().err


def test_question_and_emotions_reach_the_prompt(run: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Example] = []
    policy, trained = load_policy(str(run))
    encoder = policy.encoder
    monkeypatch.setattr(policy, "encoder", lambda example: seen.append(example) or encoder(example))
    monkeypatch.setattr("fea.analysis.analyzer.load_policy", lambda *_: (policy, trained))
    shown = str(images / "a.png")
    analyze([shown], model="", question="How?", emotions=["pain", "calm"], max_tokens=2)
    analyze([shown], model="", max_tokens=2)
    assert [(e.question, e.emotions) for e in seen] == [("How?", ("pain", "calm")), ("", trained.emotions)]


def test_samples_do_not_depend_on_the_batch(run: Path, examples: list[Example]) -> None:
    policy, _ = load_policy(str(run), "cpu")
    prompts = policy.look([policy.encoder(example) for example in examples[:3]])

    def sampled(prompts: list[Prompt]) -> list[list[Answer]]:
        chance = noise([prompt.example.id for prompt in prompts], 2, 6, seed=4, round=0)
        return ask(policy, prompts, 2, Generation(6), chance).by_prompt

    together = sampled(prompts)
    assert together == [sampled([prompt])[0] for prompt in prompts]
    assert together[0][0].text != together[0][1].text
    assert [len(said) for said in ask(policy, prompts, 1, Generation(6)).by_prompt] == [1, 1, 1]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--out", "answers.txt"], "ends neither in .csv nor in .jsonl"),
        (["--batch_size", "0"], "batch_size: 0; give at least 1"),
        (["--max_tokens", "0"], "max_tokens: 0; give at least 1"),
        (["--emotions", "basic9"], "'basic9' is no preset"),
        (["--device", "tpu"], "device: expected one of 'auto', 'cpu', 'cuda', found 'tpu'"),
        (["--modle", "x"], "there is no setting 'modle'; did you mean 'model'?"),
    ],
)
def test_bad_options_are_one_sentence(
    run: Path, images: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert main(["analyze", str(images), "--model", str(run), *more]) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_without_images_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(tmp_path), "--model", str(run)]) == 2
    assert capsys.readouterr().err == f"fea: error: no image in {tmp_path}\n"
