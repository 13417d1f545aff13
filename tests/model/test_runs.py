"""Which run a folder holds, and which of the checkpoints in it count."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fea.errors import FEAError
from fea.model import runs


def run_of(folder: Path, *names: str) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    for name in names:
        (folder / "checkpoints" / name).touch()
    return folder


def test_the_best_checkpoint_comes_before_the_last(tmp_path: Path) -> None:
    assert runs.find(str(run_of(tmp_path / "a", "best.ckpt", "last.ckpt"))).name == "best.ckpt"
    assert runs.find(str(run_of(tmp_path / "b", "last.ckpt"))).name == "last.ckpt"


def test_a_folder_of_runs_names_the_one_with_the_outcome(tmp_path: Path) -> None:
    run_of(tmp_path / "sft", "best.ckpt")
    expected = run_of(tmp_path / "grpo", "best.ckpt") / "checkpoints" / "best.ckpt"
    (tmp_path / runs.RESULT).write_text("grpo\n")
    assert runs.find(str(tmp_path)) == expected


@pytest.mark.parametrize("result", [None, "", "grpo\n"])
def test_a_folder_without_checkpoints_is_refused(tmp_path: Path, result: str | None) -> None:
    if result is not None:
        (tmp_path / runs.RESULT).write_text(result)
    with pytest.raises(FEAError, match="holds no checkpoint"):
        runs.find(str(tmp_path))


def test_a_folder_of_runs_names_those_within(tmp_path: Path) -> None:
    for name in ("sft", "grpo"):
        run_of(tmp_path / name, "best.ckpt")
    told = rf"holds no checkpoint, but there are runs within it, '{tmp_path}/grpo', '{tmp_path}/sft'; name"
    with pytest.raises(FEAError, match=told):
        runs.find(str(tmp_path))
    with pytest.raises(FEAError, match="nowhere' holds no checkpoint: it is not there; name"):
        runs.find(str(tmp_path / "nowhere"))


# --- whose a checkpoint is ---


def save(file: Path, run: str | None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"fea": {}, "state_dict": {}, "run": run}, file)


def test_the_best_checkpoint_of_another_run_does_not_count(tmp_path: Path) -> None:
    save(tmp_path / "checkpoints" / "best.ckpt", "theirs")
    save(tmp_path / "checkpoints" / "last.ckpt", "ours")
    assert runs.find(str(tmp_path)).name == "best.ckpt"  # the folder does not say whose it is
    runs.mark(tmp_path, "ours")
    assert runs.find(str(tmp_path)).name == "last.ckpt"
    runs.mark(tmp_path, "theirs")
    assert runs.find(str(tmp_path)).name == "best.ckpt"


@pytest.mark.parametrize("run", ["theirs", None])
def test_a_folder_with_checkpoints_of_others_alone_is_refused(tmp_path: Path, run: str | None) -> None:
    save(tmp_path / "checkpoints" / "best.ckpt", run)
    runs.mark(tmp_path, "ours")
    with pytest.raises(FEAError, match=r"holds no checkpoint of its own run \(ours\): '.*best.ckpt' is one of another"):
        runs.find(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}", "no JSON"])
def test_a_mark_that_was_touched_by_hand_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / runs.RUN).write_text(text)
    with pytest.raises(FEAError, match=r"run.json' does not say which run the folder holds; restore it, or remove it"):
        runs.identity(tmp_path)


def test_no_two_runs_have_one_identity() -> None:
    assert len({runs.new_identity() for _ in range(100)}) == 100


# --- what lies elsewhere ---


def test_what_is_moved_with_a_run_is_found_beside_it(tmp_path: Path) -> None:
    (tmp_path / "here" / "base").mkdir(parents=True)
    (tmp_path / "here" / "runs" / "sft").mkdir(parents=True)
    given = str(tmp_path / "here" / "base")
    near = runs.beside(tmp_path / "here" / "runs" / "sft", given)
    (tmp_path / "here").rename(tmp_path / "there")
    assert runs.found(given, near, tmp_path / "there" / "runs" / "sft") == str(tmp_path / "there" / "base")
    assert runs.found(given, near, tmp_path / "alone") == given


def test_names_of_the_hub_lie_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    for name in ("Qwen/Qwen2.5-VL-3B-Instruct", "tiny", None):
        assert runs.beside(tmp_path, name) == ""
    assert runs.absolute("tiny") == "tiny"
