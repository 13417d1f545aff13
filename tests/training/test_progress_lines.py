"""Where nobody watches a terminal: plain lines with the numbers that matter, and where the best checkpoint is."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import fit_arguments
from lightning.pytorch.callbacks import ModelCheckpoint
from processes import run, start_together

from fea.system import progress as system
from fea.training import progress as training
from fea.training.progress import ProgressLines

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
NUMBER = r"-?\d+(\.\d+)?(e-\d+)?"
SETTINGS = {
    "trainer__enable_progress_bar": "true", "trainer__max_steps": 7, "trainer__limit_val_batches": 1,
    "trainer__val_check_interval": 4, "trainer__check_val_every_n_epoch": "null", "model__group_size": 2,
}  # fmt: skip
FEW = '{"class_path": "fea.training.progress.ProgressLines", "init_args": {"every": 3}}'


def spoken(out: str) -> list[str]:
    """The lines that begin with a time."""
    return [line for line in out.splitlines() if re.match(TIME, line)]


def steps(lines: list[str], kind: str) -> list[str]:
    return [line.split("step=")[1].split()[0] for line in lines if line.split()[2] == kind]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Folder, output and messages of a fit whose output is a file."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    ended = run([*fit_arguments("grpo", folder, **SETTINGS), f"--trainer.callbacks+={FEW}"])
    assert ended.returncode == 0, ended.stderr
    return folder, ended.stdout, ended.stderr


def test_a_line_every_few_steps_and_at_every_validation(output: tuple[Path, str, str]) -> None:
    _, out, _ = output
    lines = spoken(out)
    assert steps(lines, "fit") == ["1/7", "3/7", "6/7"]
    assert steps(lines, "validating") == steps(lines, "validation") == ["4/7"]
    scores = f"au_f1={NUMBER} emotion_f1={NUMBER} accuracy={NUMBER}"  # means over classes, and over faces
    told = f"loss={NUMBER} reward={NUMBER} {scores} lr={NUMBER} left=\\d+:\\d\\d:\\d\\d"
    measured = f"score={NUMBER} {scores} format={NUMBER} reward={NUMBER}"
    shown = {"fit": told, "validating": "batches=1", "validation": measured}
    for line in lines:
        kind = line.split()[2]
        assert re.fullmatch(rf"{TIME} {kind} epoch=\d+ step=\d/7 {shown[kind]}", line), line


def test_a_file_receives_no_bar(output: tuple[Path, str, str]) -> None:
    _, out, err = output
    assert "\r" not in out + err
    assert "it/s" not in out + err


def test_the_last_line_says_where_the_best_checkpoint_is(output: tuple[Path, str, str]) -> None:
    folder, out, _ = output
    best = folder / "checkpoints" / "best.ckpt"
    assert best.exists()
    assert re.fullmatch(rf"best checkpoint: {re.escape(str(best))} \(val/score {NUMBER}\)", out.splitlines()[-1])
    assert out.count("best checkpoint") == 1


def test_on_a_terminal_there_is_the_bar(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = fit_arguments("sft", tmp_path / "run", **SETTINGS | {"trainer__max_steps": 2})
    words = [word for word in words if "group_size" not in word]
    process = subprocess.Popen([sys.executable, "-m", "fea", *words], stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    out = b""
    while process.poll() is None or not out:
        try:
            out += os.read(ours, 65536)
        except OSError:  # the process has closed its end
            break
    os.close(ours)
    assert process.wait() == 0
    assert not re.search(f"{TIME} (fit|validating|validation)", out.decode())
    assert b"it/s" in out


def test_who_wants_no_bar_gets_no_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fea.cli import main

    settings = {key: value for key, value in SETTINGS.items() if key != "model__group_size"}
    quiet = settings | {
        "trainer__enable_progress_bar": "false",
        "trainer__limit_val_batches": 0,
        "trainer__max_steps": 1,
    }
    assert main(fit_arguments("sft", tmp_path / "run", **quiet)) == 0
    out = capsys.readouterr().out
    assert spoken(out) == []
    assert "best checkpoint" not in out  # nothing was validated


def test_the_newest_checkpoint_is_not_called_the_best() -> None:
    newest, best = ModelCheckpoint(monitor="step"), ModelCheckpoint(monitor="val/score")
    newest.best_model_path = "step7.ckpt"
    trainer: Any = SimpleNamespace(checkpoint_callbacks=[newest, best])
    assert training._best(trainer) == ""
    best.best_model_path, best.best_model_score = "best.ckpt", torch.tensor(0.5)
    assert training._best(trainer) == "best checkpoint: best.ckpt (val/score 0.5)"


def test_work_without_a_step_says_a_line_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fea.cli import main

    monkeypatch.setattr(training, "EVERY", 0.0)
    settings = {key: value for key, value in SETTINGS.items() if key != "model__group_size"}
    words = fit_arguments("sft", tmp_path / "run", **settings, data__eval_batch_size=1, data__test_faces=3)
    words = [word.replace("limit_val_batches=1", "limit_val_batches=3") for word in words]
    assert main(words) == 0
    lines = spoken(capsys.readouterr().out)
    assert steps(lines, "fit") == [f"{step}/7" for step in range(1, 8)]
    assert [line.split()[-1] for line in lines if "batch=" in line] == ["batch=1/3", "batch=2/3", "batch=3/3"]


def test_the_first_of_several_processes_speaks(tmp_path: Path) -> None:
    settings = {**SETTINGS, "trainer__devices": 2, "trainer__strategy": "ddp", "trainer__max_steps": 3}
    words = [*fit_arguments("grpo", tmp_path / "run", **settings), f"--trainer.callbacks+={FEW}"]
    processes = start_together(words, 2)
    said = [process.communicate(300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [steps(spoken(out), "fit") for out in said] == [["1/3", "3/3"], []]


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0:00:00"), (59.6, "0:01:00"), (3661, "1:01:01"), (360000, "100:00:00")]
)
def test_durations(seconds: float, told: str) -> None:
    assert system.duration(seconds) == told


def test_at_least_every_step() -> None:
    with pytest.raises(ValueError, match=r"ProgressLines.every: 0; give at least 1"):
        ProgressLines(0)
