"""`fea synthesize`: every face is tried, a killed run goes on, two processes write what one does."""

from __future__ import annotations

import functools
import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import fit
from processes import start

from fea.cli import main
from fea.data.table import open_jsonl
from fea.drawn.faces import EMOTIONS, write_faces
from fea.records.record import Rules
from fea.synthesis import round


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned next to nothing, and faces without analyses."""
    folder = tmp_path_factory.mktemp("trained")
    fit("sft", folder / "run", trainer__max_steps=2)
    write_faces(folder / "new", 12, seed=3, text="none")
    return folder


def arguments(folder: Path, out: Path) -> list[str]:
    words = ["synthesize", str(folder / "new" / "faces.jsonl"), "--model", str(folder / "run"), "--out", str(out)]
    return [*words, "--max_tokens=12", "--batch_size=2", "--recipe.attempts=2", "--recipe.samples=2", "--num_workers=0"]


def test_the_command_tries_every_face(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(trained, tmp_path / "s.jsonl")) == 0
    assert "of 12 faces have an analysis" in capsys.readouterr().out
    tried = [json.loads(line) for line in (tmp_path / "s.jsonl.tried").read_text().splitlines()][1:]
    assert [entry["id"] for entry in tried] == [f"face-3-{number}" for number in range(12)]
    assert all(entry["attempts"] == 2 and not entry["revealed"] for entry in tried if not entry["accepted"])


def test_a_finished_file_is_told_as_done(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        *arguments(trained, tmp_path / "s.jsonl"),
        "--batch_size=5",
        "--recipe.attempts=1",
    ]  # batches of 5, 5 and 2
    assert main(words) == 0
    capsys.readouterr()
    assert main(words) == 0
    assert "faces 12/12, 100%" in capsys.readouterr().err


def accept_all(monkeypatch: pytest.MonkeyPatch) -> None:
    run = functools.partial(round.run, judge=lambda answer, example, checks: [])
    monkeypatch.setattr(round, "run", run)


@pytest.mark.parametrize("beside", [True, False])
def test_new_lines_find_their_images(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    accept_all(monkeypatch)
    out = trained / "s.jsonl" if beside else tmp_path / "s.jsonl"
    assert main(arguments(trained, out)) == 0
    shown = capsys.readouterr().out
    root = trained if beside else trained / "new" / "images"
    assert ("; give it with the file: --data.train" in shown) != beside
    assert beside or str(root.resolve()) in shown
    rules = Rules(EMOTIONS, "raise", True)
    table = open_jsonl(out, root, rules, "raise")
    assert len(table) == 12
    assert all(Path(table[number].image).is_file() for number in range(12))


def test_a_killed_synthesis_goes_on_to_the_same_files(trained: Path, tmp_path: Path) -> None:
    assert main(arguments(trained, tmp_path / "whole.jsonl")) == 0
    chance, out = random.Random(0), tmp_path / "killed.jsonl"
    tried = out.with_name("killed.jsonl.tried")
    for kill in range(2):
        process = start(arguments(trained, out), fresh=kill == 0)
        deadline = time.monotonic() + 120
        while len(tried.read_bytes().splitlines() if tried.exists() else []) < 3 + 4 * kill and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert main(arguments(trained, out)) == 0
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert tried.read_bytes() == (tmp_path / "whole.jsonl.tried").read_bytes()


def test_files_without_such_faces_are_refused(
    trained: Path, faces_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(trained, tmp_path / "s.jsonl")
    words[1] = str(faces_file)
    assert main(words) == 2
    assert "has labels and no analysis" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "s.jsonl").write_text("mine\n"), "exists and was not written by a synthesis"),
        (
            lambda folder: (folder / "DATACARD.md").write_text("mine\n"),
            "DATACARD.md' was not written by a synthesis, or",
        ),
        (lambda folder: (folder / "s.jsonl").mkdir(), "exists and was not written by a synthesis"),
        (lambda folder: (folder / "s.jsonl.tried").mkdir(), "it is a folder; name a file"),
        (lambda folder: (folder / "other.jsonl.tried").write_text("mine\n"), "holds a line that no synthesis"),
    ],
)
def test_what_stands_against_the_result_is_found_before_a_model_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object], told: str
) -> None:
    spoil(tmp_path)
    words = ["synthesize", "nowhere.jsonl", "--model", "nowhere", "--out", str(tmp_path / "s.jsonl")]
    assert main(words) == 2
    assert told in capsys.readouterr().err


def test_files_are_looked_at_before_a_model_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.json").write_text("[{}]")
    for name, told in (("nowhere.jsonl", "'nowhere.jsonl' does not exist"), ("list.json", "list.json' is a JSON list")):
        words = ["synthesize", str(tmp_path / name) if name == "list.json" else name, "--model", "nowhere"]
        assert main([*words, "--out", str(tmp_path / "s.jsonl")]) == 2
        assert told in capsys.readouterr().err
