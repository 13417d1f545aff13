"""`fea iterate`: rounds that feed each other, stop when they do not help, and go on after a kill."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CONFIGS, SMALL
from processes import run, start

from fea.cli import main
from fea.errors import FEAError
from fea.iterate import Loop, PairStage, Stage, _report, check_places, iterate
from fea.model.checkpoints import stored
from fea.training.fits import Fits, options

CALLBACKS = [
    {"class_path": "fea.callbacks.FormatReward"},
    {
        "class_path": "accepting.Accepting",
        "init_args": {"recipe": {"attempts": 1, "samples": 1}, "batch_size": 8},
    },
    {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"filename": "last", "every_n_train_steps": 1, "enable_version_counter": False},
    },
]


def config(folder: Path) -> Path:
    """A loop of three rounds of a small policy on a few drawn faces."""
    common: dict[str, Any] = {
        **{f"model.policy.tiny.{name}": value for name, value in vars(SMALL).items()},
        "model.generation.max_tokens": 12,
        "data.folder": str(folder / "faces"),
        "data.train_faces": 8,
        "data.val_faces": 4,
        "data.test_faces": 8,
        "data.batch_size": 4,
        "trainer.max_steps": 2,
        "trainer.limit_val_batches": 0,
        "trainer.enable_progress_bar": False,
        "trainer.enable_model_summary": False,
        "trainer.callbacks": CALLBACKS,
    }
    files = {name: [str(CONFIGS / f"{name}.yaml"), str(CONFIGS / "demo.yaml")] for name in ("sft", "grpo")}
    settings = {
        "out": str(folder / "loop"),
        "rounds": 3,
        "sft": {
            "configs": [*files["sft"], str(folder / "own.yaml")],
            "settings": {**common, "data.text": "analysis", "trainer.reload_dataloaders_every_n_epochs": 1},
            "again": {"trainer.max_steps": 3},
        },
        "grpo": {"configs": files["grpo"], "settings": {**common, "data.text": "none", "model.group_size": 2}},
    }
    (folder / "own.yaml").write_text("seed_everything: 0\n")
    (folder / "loop.yaml").write_text(yaml.safe_dump(settings))
    return folder / "loop.yaml"


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a loop that was killed in its second stage and then called again, with what that printed."""
    folder = tmp_path_factory.mktemp("loop")
    words = ["iterate", "--config", str(config(folder))]
    process = start(words, fresh=True)
    deadline = time.monotonic() + 240
    while not list((folder / "loop" / "grpo-1").glob("checkpoints/*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    done = run(words, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder / "printed").write_text(done.stdout)
    return folder


def test_each_stage_starts_from_the_last_and_reads_what_was_accepted(loop: Path) -> None:
    runs = {name: loop / "loop" / name for name in ("sft-1", "grpo-1", "sft-2", "grpo-2")}
    started = {name: stored(str(run)).init_from for name, run in runs.items()}
    assert started == {
        "sft-1": None,
        "grpo-1": str(runs["sft-1"].resolve()),
        "sft-2": str(runs["grpo-1"].resolve()),
        "grpo-2": str(runs["sft-2"].resolve()),
    }
    accepted = (runs["grpo-1"] / "synthesis" / "round-1.jsonl").read_text().splitlines()
    assert accepted
    words = json.loads((runs["sft-2"] / "finished.json").read_text())["arguments"]
    source = yaml.safe_load(words[words.index("--data.train+") + 1])
    assert [entry["file"] for entry in source] == [str(runs["grpo-1"] / "synthesis" / "round-1.jsonl")]
    assert words[words.index("--trainer.max_steps") + 1] == "3"


def test_what_was_finished_is_kept_and_a_round_that_does_not_help_is_the_last(loop: Path) -> None:
    printed = (loop / "printed").read_text()
    assert "sft-1: kept from an earlier run" in printed
    assert "round 2 did not help" in printed  # two steps teach nothing
    assert not (loop / "loop" / "sft-3").exists()


def test_all_stages_are_tested_and_the_best_one_is_named(loop: Path) -> None:
    scores = {name: json.loads((loop / "loop" / name / "scores.json").read_text()) for name in ("sft-1", "grpo-2")}
    assert all({"au_f1", "accuracy", "score"} <= entry.keys() for entry in scores.values())
    assert (loop / "loop" / (loop / "loop" / "RESULT").read_text().strip()).is_dir()
    page = (loop / "loop" / "report.html").read_text()
    assert page.count("<svg") >= 3
    assert page.count("fea fit --config") == 4


def test_a_config_that_has_changed_is_refused(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, before = loop / "own.yaml", (loop / "own.yaml").read_text()
    own.write_text("seed_everything: 1\n")
    assert main(["iterate", "--config", str(loop / "loop.yaml")]) == 2
    own.write_text(before)
    assert "was trained with other settings" in capsys.readouterr().err


def test_other_settings_are_refused(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["iterate", "--config", str(loop / "loop.yaml"), "--sft.settings", "{trainer.max_steps: 7}"]
    assert main(words) == 2
    assert "'" + str(loop / "loop" / "sft-1") + "' was trained with other settings" in capsys.readouterr().err


def test_a_stage_that_fails_ends_the_loop_with_its_exit_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["iterate", "--config", str(config(tmp_path)), "--sft.settings", "{trainer.max_stepz: 7}"]
    assert main(words) == 2
    errors = capfd.readouterr().err.splitlines()
    assert [line for line in errors if "max_stepz" in line]
    assert errors[-1] == "fea: error: 'fea fit' ended with exit code 2; the same command goes on from there"


def test_settings_become_words_of_the_command_line() -> None:
    found = options({"a.b": 1e-3, "c": None, "d": True, "e": Path("x y"), "f": [{"file": "a", "weight": 2.0}]})
    assert found == ["--a.b", "0.001", "--c", "null", "--d", "true", "--e", "x y", "--f", "[{file: a, weight: 2.0}]"]


def test_the_table_shows_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = {
        "sft-1": {"score": 0.5, "accuracy": 0.25, "tokens": 9},
        "grpo-1": {"au_f1": 0.625, "score": 0.75, "accuracy": 1},
    }
    _report(tmp_path, scores, ["fea fit --config sft.yaml"])
    assert capsys.readouterr().out == (
        "       run       au_f1    accuracy       score\n"
        "     sft-1                   0.250       0.500\n"
        "    grpo-1       0.625       1.000       0.750\n"
    )
    page = (tmp_path / "report.html").read_text()
    assert re.findall(r"<td>([^<]*)</td>", page) == ["sft-1", "", "0.250", "0.500", "grpo-1", "0.625", "1.000", "0.750"]
    assert re.findall(r"<figcaption>([^<]*)", page) == ["accuracy over the stages", "score over the stages"]


def test_rounds_are_compared_by_one_number_whenever_they_were_tested(tmp_path: Path) -> None:
    """An earlier release took accuracy where the macro F1 of emotions stands now."""
    kept = {"au_f1": 0.5, "emotion_f1": 0.25, "accuracy": 0.75, "score": 0.625}
    (tmp_path / "sft-1").mkdir()
    (tmp_path / "sft-1" / "scores.json").write_text(json.dumps(kept))
    assert Loop(tmp_path, Stage([]), Stage([])).test("sft-1") == {**kept, "score": 0.375}


@pytest.mark.parametrize(
    ("name", "own", "foreign"),
    [
        ("RESULT", ["grpo-12\n", "loop-0/sft-1\n"], ["done\n", "grpo-1\nand more\n", ""]),
        ("report.html", ["<!doctype html><html lang=en><title>fea demo</title>"], ["<html>", "my notes", ""]),
    ],
)
def test_files_of_somebody_else_are_left_alone(tmp_path: Path, name: str, own: list[str], foreign: list[str]) -> None:
    check_places(tmp_path / "new" / name)
    for text in own:
        (tmp_path / name).write_text(text)
        check_places(tmp_path / name)
    for text in foreign:
        (tmp_path / name).write_text(text)
        with pytest.raises(FEAError, match=f"{name}' exists and was not written by fea; choose another folder"):
            check_places(tmp_path / name)
        assert main(["iterate", "--sft.configs=[a]", "--grpo.configs=[b]", "--out", str(tmp_path)]) == 2
        assert (tmp_path / name).read_text() == text


def test_a_place_is_tried_before_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(Fits, "fit", lambda *_: pytest.fail("begun"))
    for words in (["iterate", "--sft.configs=[a]", "--grpo.configs=[b]"], ["demo", "--quick"]):
        assert main([*words, "--out", str(tmp_path / "file" / "out")]) == 2
        assert "a part of the path is a file and no folder; check the path" in capsys.readouterr().err


def test_preference_pairs_come_between_the_stages_if_asked_for(
    tmp_path: Path, faces_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each round from what its SFT run says; GRPO goes on from their result."""
    fitted, called = dict[str, tuple[list[str], dict[str, Any]]](), list[list[str]]()
    monkeypatch.setattr(Loop, "fit", lambda _, name, words, more: fitted.update({name: (words, more)}))
    monkeypatch.setattr("fea.iterate.call", lambda words: called.append(words))
    monkeypatch.setattr(Loop, "accepted", lambda *_: [])
    monkeypatch.setattr("fea.pairs.journal.root_of", lambda file: file.parent)
    empo = PairStage(["empo.yaml"], faces=str(faces_file), pairs={"recipe.samples": 3})
    loop = Loop(tmp_path, Stage(["sft.yaml"]), Stage(["grpo.yaml"]), empo)
    assert [loop.round(number) for number in (1, 2)] == [["sft-1", "empo-1", "grpo-1"], ["sft-2", "empo-2", "grpo-2"]]
    pairs = tmp_path / "pairs-2.jsonl"
    assert called[1] == [
        "data", "pairs", str(tmp_path / "sft-2"), str(faces_file), "--out", str(pairs), "--recipe.samples", "3",
    ]  # fmt: skip
    assert fitted["empo-2"][1] == {"data.train": [{"file": str(pairs), "image_root": str(tmp_path)}]}
    starts = {
        name: words[words.index("--model.init_from") + 1] for name, (words, _) in fitted.items() if name != "sft-1"
    }
    expected = {"empo-1": "sft-1", "grpo-1": "empo-1", "sft-2": "grpo-1", "empo-2": "sft-2", "grpo-2": "empo-2"}
    assert starts == {name: str(tmp_path / before) for name, before in expected.items()}


def test_pairs_need_faces(tmp_path: Path) -> None:
    with pytest.raises(FEAError, match=r"empo\.faces: name a JSONL file of labeled faces"):
        iterate(Stage([]), Stage([]), tmp_path, empo=PairStage([]))
