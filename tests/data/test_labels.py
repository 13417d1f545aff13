"""Files with emotions only, Action Units only, both, part of the units coded, or some lines without labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import fit
from test_grpo import Recorder

from fea.errors import FEAError

Line = dict[str, Any]
KINDS: dict[str, Callable[[int, Line], Line]] = {
    "emotion_only": lambda _, line: {**line, "AUs": None, "AUs_coded": None},
    "au_only": lambda _, line: {**line, "labels": []},
    "mixed": lambda n, line: {**line, **([{"AUs": None, "AUs_coded": None}, {"labels": []}, {}][n % 3])},
    "partly_coded": lambda _, line: {**line, "AUs": [au for au in line["AUs"] if au == "AU12"], "AUs_coded": ["AU12"]},
    "partly_unlabeled": lambda n, line: {**line, **({"AUs": None, "AUs_coded": None, "labels": []} if n % 2 else {})},
}
ALL = '[{"class_path": "fea.callbacks.AUReward"}, {"class_path": "fea.callbacks.EmotionReward"}, '
ALL += '{"class_path": "fea.callbacks.FormatReward"}, {"class_path": "test_grpo.Recorder"}]'


@pytest.fixture(params=KINDS)
def labeled(request: pytest.FixtureRequest, faces_file: Path, tmp_path: Path) -> tuple[str, Path]:
    lines = [json.loads(line) for line in faces_file.read_text().splitlines()]
    file = tmp_path / "faces.jsonl"
    changed = [KINDS[request.param](n, line) for n, line in enumerate(lines)]
    kept = [{key: value for key, value in line.items() if key not in ("AU_intensities",)} for line in changed]
    file.write_text("".join(json.dumps(line) + "\n" for line in kept))
    return request.param, file


def files(file: Path, root: Path) -> dict[str, Any]:
    source = json.dumps([{"file": str(file), "image_root": str(root)}])
    same = json.dumps([{"file": str(file), "image_root": str(root), "overlap": True}])
    return {"data": "FEADataModule", "data__train": source, "data__val": same, "data__batch_size": 4}


@pytest.mark.filterwarnings("ignore:reward '.*' returned None or NaN for every answer")
@pytest.mark.parametrize("advantage", ["sum_then_normalize", "normalize_then_sum"])
def test_grpo_masks_what_is_unknown(
    tmp_path: Path, faces_file: Path, labeled: tuple[str, Path], advantage: str
) -> None:
    kind, file = labeled
    Recorder.rollouts = []
    run = fit(
        "grpo", tmp_path / "run", trainer__callbacks=ALL, model__objective__advantage=advantage, trainer__max_steps=3,
        trainer__limit_val_batches=1, trainer__val_check_interval=3, **files(file, faces_file.parent),
    )  # fmt: skip
    assert run.trainer.global_step == 3
    for rollout, rewards in Recorder.rollouts:
        known_units = torch.tensor([prompt.example.aus is not None for prompt in rollout.prompts])
        known_emotion = torch.tensor([bool(prompt.example.labels) for prompt in rollout.prompts])
        assert torch.equal(~rewards["AUReward"].isnan().any(dim=1), known_units)
        assert torch.equal(~rewards["EmotionReward"].isnan().any(dim=1), known_emotion)
        assert not rewards["FormatReward"].isnan().any()
    assert all(p.isfinite().all() for p in run.model.policy.parameters())
    seen = run.trainer.callback_metrics
    assert ("val/au_f1" in seen) == (kind != "emotion_only")
    assert ("val/accuracy" in seen) == (kind != "au_only")


def test_sft_needs_analyses_not_labels(tmp_path: Path, faces_file: Path, labeled: tuple[str, Path]) -> None:
    run = fit("sft", tmp_path / "run", trainer__max_steps=2, **files(labeled[1], faces_file.parent))
    assert run.trainer.global_step == 2


def test_sft_refuses_a_file_without_analyses(tmp_path: Path, faces_file: Path) -> None:
    lines = [json.loads(line) for line in faces_file.read_text().splitlines()]
    file = tmp_path / "bare.jsonl"
    file.write_text("".join(json.dumps({**line, "description": ""}) + "\n" for line in lines))
    with pytest.raises(FEAError, match="0 examples with an analysis"):
        fit("sft", tmp_path / "run", **files(file, faces_file.parent))
