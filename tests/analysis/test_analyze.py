"""`fea analyze` on a run of the real command line: a row for every image, whatever the image."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from conftest import fit
from photographed import person
from PIL import Image

import fea
from fea.analysis import analyzer as analyzing
from fea.analysis import loading
from fea.analysis.inputs import inputs_of
from fea.analysis.layout import to_csv
from fea.analysis.tables import Result, result_of
from fea.analysis.writing import AnswerFile, check_place
from fea.cli import main
from fea.commands.analyze import analyze
from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.drawn.drawing import DRAWN_AUS
from fea.errors import FEAError
from fea.export.folder import settings
from fea.model.checkpoints import load_policy, stored
from fea.model.config import PolicyConfig
from fea.model.elsewhere import described
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


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_answers_are_those_of_the_validation_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """In the precision of the run, whatever that of its weights."""
    asked: list[Any] = []

    def heard(*arguments: Any, **options: Any) -> Any:
        asked.append(ask(*arguments, **options))
        return asked[-1]

    for place in ("training.validation", "analysis.analyzer"):
        monkeypatch.setattr(f"fea.{place}.ask", heard)
    fit(
        "sft", tmp_path / "run", trainer__precision=precision, trainer__max_steps=2, trainer__limit_val_batches=1,
        trainer__val_check_interval=2, model__policy__lora='{"rank": 4, "alpha": 8}', model__optimization__lr=1e-2,
    )  # fmt: skip
    faces = tmp_path / "faces" / "val-4"
    files = [faces / json.loads(line)["image"] for line in (faces / "faces.jsonl").read_text().splitlines()]
    analyzer = fea.load(tmp_path / "run", "cpu")
    analyzer.analyze(files, max_tokens=12)
    validated, analyzed = (one.completions for one in asked)
    assert torch.equal(validated.ids, analyzed.ids)
    assert torch.equal(validated.logps, analyzed.logps)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "32-true"):  # the other precision
        other = ask(analyzer.policy, asked[1].prompts, 1, Generation(12)).completions
    assert not torch.equal(other.logps, analyzed.logps)


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
    assert "note: left out of the folders: 1 .txt\n" in told
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
    result = result_of("a.png", parse(text, ("happiness",)), ("happiness",))
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
    assert "this model" not in capsys.readouterr().err


def test_question_and_emotions_reach_the_prompt(run: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Example] = []
    policy, trained = load_policy(str(run))
    encode = policy.encoder.of
    monkeypatch.setattr(policy.encoder, "of", lambda example, image: seen.append(example) or encode(example, image))
    monkeypatch.setattr("fea.analysis.analyzer.load_policy", lambda *_: (policy, trained))
    shown = str(images / "a.png")
    analyze([shown], model="", question="How?", emotions=["pain", "calm"], max_tokens=2)
    analyze([shown], model="", max_tokens=2)
    assert [(e.question, e.emotions) for e in seen] == [("How?", ("pain", "calm")), ("", trained.emotions)]


@pytest.mark.parametrize(
    ("images", "settings", "told"),
    [
        (None, {}, "images: None names none; give paths, folders"),
        ([], {}, r"images: \[\] names none; give paths, folders"),
        (3, {}, "images: 3 names none"),
        (["a.png"], {"samples": float("nan")}, "samples: nan; give a whole number"),
        (["a.png"], {"batch_size": "8"}, "batch_size: '8'; give a whole number"),
        (["a.png"], {"max_tokens": 10**9}, "max_tokens: 1000000000; give at most 32768"),
    ],
)
def test_python_is_told_what_cannot_be_asked(run: Path, images: Any, settings: Any, told: str) -> None:
    with pytest.raises(fea.FEAError, match=told):
        fea.load(run).analyze(images, **settings)


def test_a_device_that_there_is_none_of(run: Path) -> None:
    with pytest.raises(fea.FEAError, match="device: 'gpu'; choose auto, cpu, cuda"):
        fea.load(run, device="gpu")


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
        (["--out", "answers.txt"], "ends neither in .csv nor in .jsonl or .parquet"),
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


def test_names_of_nothing_are_refused_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fea.analysis.analyzer.load", lambda *_: pytest.fail("the model was loaded"))
    gone = tmp_path / "gone"
    assert main(["analyze", str(gone), "--model", "owner/model"]) == 2
    assert capsys.readouterr().err == f"fea: error: '{gone}' does not exist; check the path\n"
    assert main(["analyze", f"{gone}.png", f"{gone}.jpg", "--model", "owner/model"]) == 2
    assert f"'{gone}.png' does not exist, and none of 1 more does" in capsys.readouterr().err


def test_a_folder_without_images_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(tmp_path), "--model", str(run)]) == 2
    assert capsys.readouterr().err == f"fea: error: no image in {tmp_path}\n"


def test_a_fit_on_cut_out_faces_is_analyzed_as_it_was_trained(tmp_path: Path) -> None:
    """The checkpoint says what was shown and which units were coded, and so does what is exported."""
    fit("sft", tmp_path / "run", trainer__max_steps=1, model__policy__faces="largest", data__train_faces=8)
    analyzer = fea.load(tmp_path / "run")
    assert analyzer.policy.config.faces == "largest"
    assert analyzer.known == frozenset(DRAWN_AUS)
    image = Image.new("RGB", (640, 400), (200, 205, 208))
    image.paste(person(1, 240), (350, 80))
    (result,) = analyzer.analyze(image, max_tokens=2)
    assert result.box is not None
    assert result.box[0] > 300
    told = settings(stored(str(tmp_path / "run")))
    assert told["crop"] == {"faces": "largest", "margin": 1.3, "face_model": None}
    assert told["coded"] == sorted(DRAWN_AUS)
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "fea.json").write_text(json.dumps(told))
    read = described(str(tmp_path / "export"), torch.device("cpu"))
    assert (read.policy.faces, read.coded) == ("largest", frozenset(DRAWN_AUS))


def test_a_run_is_shown_to_its_end_what_it_was_shown_so_far(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """To go on with whole images where faces were shown would be another run; to start from its weights is told."""
    last = run / "checkpoints" / "last.ckpt"
    with pytest.raises(FEAError, match=r"policy.faces: largest, but the run was shown none so far"):
        fit("sft", tmp_path / "on", trainer__max_steps=3, model__policy__faces="largest", ckpt_path=last)
    with caplog.at_level("INFO"):
        fit("sft", tmp_path / "new", trainer__max_steps=1, model__policy__faces="largest", model__init_from=run)
    assert f"policy.faces is largest, and was none in '{run}'" in caplog.text


def test_a_fit_whose_detector_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FEAError, match=r"face_model: 'nowhere.onnx' does not exist"):
        fit("sft", tmp_path / "run", model__policy__faces="largest", model__policy__face_model="nowhere.onnx")
    with pytest.raises(
        FEAError, match=r"policy.face_model: 'x', but faces are not looked for; set policy.faces: largest"
    ):
        PolicyConfig(face_model="x")


# --- which files ---


def test_every_picture_of_a_folder_has_a_row_and_the_rest_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = ["A.PNG", "b.JFIF", "c.avif", "d.TiF", "phone.heic", "raw.DNG"]
    for name in [*pictures, "a.txt", "b.TXT", "README", ".hidden.png", "film.mp4"]:
        (tmp_path / name).touch()
    (tmp_path / "more.png").mkdir()
    assert [Path(one.name).name for one in inputs_of(tmp_path)] == pictures
    told = "note: left out of the folders: 2 .txt, 1 hidden, 1 without an ending, 1 .mp4, 1 folder\n"
    assert sorted(capsys.readouterr().err.strip().split(": ")[1].split(", ")) == sorted(
        told.strip().split(": ")[1].split(", ")
    )
    with pytest.raises(fea.FEAError, match=rf"^no image in {tmp_path}/more.png$"):
        inputs_of(tmp_path / "more.png")
    (tmp_path / "more.png" / "a.txt").touch()
    with pytest.raises(fea.FEAError, match=rf"^no image in {tmp_path}/more.png; left out: 1 .txt$"):
        inputs_of(tmp_path / "more.png")
    (tmp_path / "more.png" / "inner").mkdir()
    with pytest.raises(fea.FEAError, match=r"1 \.txt, 1 folder; with recursive, folders are looked into$"):
        inputs_of(tmp_path / "more.png")


def test_a_phone_picture_is_a_row_that_says_so(run: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(80))
    assert analyze([str(images)], model=str(run), max_tokens=2) == 2
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert rows[-1]["error"] == f"image '{images / 'phone.HEIC'}' cannot be read (it is a HEIC picture)"


def test_an_image_with_too_many_pixels_is_a_row(run: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    assert analyze([str(images / "a.png")], model=str(run), out=str(out), max_tokens=2, max_image_pixels=99) == 2
    assert "it has 112 x 112 pixels, more than the 99 that are allowed" in json.loads(out.read_text())["error"]


# --- where the answers go ---


@pytest.mark.parametrize(
    "cell", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "-", "+a"]
)
def test_what_a_spreadsheet_would_run_begins_with_a_quote(cell: str) -> None:
    row = next(csv.DictReader(io.StringIO(to_csv([Result(cell, text=cell)]), newline="")))
    assert row["image"] == row["text"] == f"'{cell}"


@pytest.mark.parametrize("cell", ["-1", "+2.5", "-1e-05", "a=1", "", " =1", "3", "AU6 AU12"])
def test_numbers_and_words_stay_what_they_are(cell: str) -> None:
    row = next(csv.DictReader(io.StringIO(to_csv([Result(cell, text=cell)]), newline="")))
    assert row["image"] == row["text"] == cell


def _refused(tmp_path: Path, name: str) -> str:
    """What is said of a place for the answers, before a model is looked for."""
    (tmp_path / "a.png").touch()
    with pytest.raises((fea.FEAError, OSError)) as refusal:
        analyze([str(tmp_path / "a.png")], model=str(tmp_path / "nowhere"), out=str(tmp_path / name))
    return str(refusal.value)


def test_what_stands_against_the_answers_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "b.csv").mkdir()
    assert "Not a directory" in _refused(tmp_path, "file/a.csv")
    assert "Is a directory" in _refused(tmp_path, "b.csv")
    assert "name too long" in _refused(tmp_path, f"{'n' * 300}.csv")
    assert "holds no checkpoint" in _refused(tmp_path, "deep/er/a.csv")  # nothing stands against this one
    assert not (tmp_path / "deep").exists()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert _refused(tmp_path, "c.csv") == f"[Errno 28] No space left on device: '{tmp_path}/c.csv'"
    assert not (tmp_path / "c.csv").exists()


@pytest.mark.parametrize("content", ["id,age\n1,2\n", "[1]\n", '{"image": "a"}\n', "\xff"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert _refused(tmp_path, name).endswith("exists and holds something else than answers; choose another name")
    assert (tmp_path / name).read_text() == content


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_older_answers_give_way_to_new_ones_and_the_mode_stays(tmp_path: Path, name: str) -> None:
    for text in ("", "old", "new"):
        file = tmp_path / name
        if not text:
            file.touch()
            file.chmod(0o600)
            continue
        check_place(file)
        answers = AnswerFile(file)
        answers.write([Result("a.png", text=text)])
        assert answers.written.stat().st_mode & 0o777 == 0o600
        assert ("old" in file.read_text()) is True
        answers.write([Result("b.png\udcff", text=text)])
        answers.finish()
        assert file.read_text().count(text) == 2
        assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("older", [True, False])
def test_answers_so_far_are_kept(
    run: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    older: bool,
) -> None:
    true, out, asked = ask, tmp_path / "answers.csv", iter(range(4))

    def fails(*arguments: Any, **options: Any) -> Any:
        if next(asked, None) is None:
            raise RuntimeError("out of memory")
        return true(*arguments, **options)

    if older:
        out.write_text(to_csv([]))
    monkeypatch.setattr(analyzing, "ask", fails)
    monkeypatch.setattr(loading, "_POOL", 2)
    names = ["a.png", "B.JPG", "c.png", "a.png", "B.JPG", "d.png"]
    shutil.copy(images / "a.png", images / "d.png")
    files = [str(images / name) for name in names]
    with pytest.raises(RuntimeError, match="out of memory"):
        analyze(files, model=str(run), out=str(out), batch_size=1, max_tokens=2)
    place = tmp_path / "answers.csv.part" if older else out
    with place.open(newline="") as file:
        assert [Path(row["image"]).name for row in csv.DictReader(file)] == names[:5]
    assert f"note: the 5 answers so far are in '{place}'; --resume goes on\n" in capsys.readouterr().err
    assert not older or out.read_text() == to_csv([])
    if older:  # and the next run does not throw them away
        with pytest.raises(
            FEAError, match=r"answers.csv' was begun by a run that was interrupted; go on with --resume"
        ):
            analyze(files, model=str(run), out=str(out))
        with place.open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 5


def test_a_disk_that_fills_up_is_one_sentence_with_the_name_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text(to_csv([Result("old.png")]))
    answers = AnswerFile(tmp_path / "a.csv")
    answers.write([Result("a.png")])
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left") as refusal:
        answers.write([Result("b.png")])
    assert refusal.value.filename == str(tmp_path / "a.csv")
    assert answers.written.read_text() == to_csv([Result("a.png")])
