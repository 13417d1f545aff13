"""Which run a folder holds, and which of the checkpoints in it count."""

from __future__ import annotations

from pathlib import Path

import pytest

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
