"""Synthesis inside training: what it writes, what the next epoch sees of it, and how it survives being stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import fit

from fea.data.faces import write_faces


def synthesis(**options: Any) -> str:
    settings = {"recipe": {"attempts": 2, "samples": 2}, "batch_size": 4, **options}
    return json.dumps({"class_path": "fea.callbacks.Synthesis", "init_args": settings})


@pytest.fixture
def _half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces with odd numbers pass."""
    monkeypatch.setattr(
        "fea.attempts.failures",
        lambda answer, example, checks: [] if int(example.id.rpartition("-")[2]) % 2 else ["missed"],
    )


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Two epochs on 8 faces with analyses and 8 without, the latter from another seed."""
    bare = write_faces(folder / "bare", 8, seed=3, text="none")
    return {
        "data__train_faces": 8,
        "data__train": f"[{bare}]",
        "trainer__max_steps": -1,
        "trainer__max_epochs": 2,
        "trainer__reload_dataloaders_every_n_epochs": 1,
        "trainer__callbacks+": synthesis(),
        **changes,
    }


def lines(run: Path, name: str = "round-1.jsonl") -> list[Any]:
    return [json.loads(line) for line in (run / "synthesis" / name).read_text().splitlines()]


@pytest.mark.usefixtures("_half")
def test_what_is_accepted_joins_the_next_epoch_of_stage_1(tmp_path: Path) -> None:
    done = fit("sft", tmp_path / "run", **settings(tmp_path))
    assert done.trainer.global_step == 8 // 4 + (8 + 4) // 4
    assert [line["id"] for line in sorted(lines(tmp_path / "run"), key=lambda line: line["id"])] == [
        f"face-3-{number}" for number in (1, 3, 5, 7)
    ]
    assert {line["meta_info"]["synthesis"]["round"] for line in lines(tmp_path / "run")} == {1}
    # The second round tries what is left, and no face that has an analysis now.
    assert len(lines(tmp_path / "run", "round-2.jsonl.tried")) == 1 + 4
    assert lines(tmp_path / "run", "round-2.jsonl") == []
    assert "Synthesised analyses" in (tmp_path / "run" / "synthesis" / "DATACARD.md").read_text()
