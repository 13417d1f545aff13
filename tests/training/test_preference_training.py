"""Preference optimization by several processes, in four bits, and resumed: as the other stages are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SAVE_EACH_STEP, fit
from pairing import pairs_file
from test_distributed import ADAPTER, distance, logged, origin, train

from fea.model.policy import Policy


@pytest.fixture
def data(tmp_path: Path, faces_file: Path) -> dict[str, Any]:
    """24 pairs to learn from, and 4 faces and these pairs to validate on."""
    source = f'[{{"file": "{pairs_file(faces_file, tmp_path / "pairs.jsonl")}", "image_root": "{faces_file.parent}"}}]'
    return {"data__train": source, "trainer__callbacks": f"[{SAVE_EACH_STEP}]", "model__preference__anchor": 0.5}


def test_processes_end_where_one_process_ends(tmp_path: Path, data: dict[str, Any]) -> None:
    """SGD; and what they log on the way is about all pairs."""
    settings = {
        **data,
        **ADAPTER,
        "model": "pairing.Steady",
        "trainer__max_steps": 3,
        "trainer__accumulate_grad_batches": 2,
    }
    found = {
        strategy: train("empo", tmp_path / strategy, strategy, **settings) for strategy in ("single", "ddp", "fsdp2")
    }
    assert distance(origin(found["single"]), found["single"]) > 1e-3
    numbers = logged(tmp_path / "single")
    assert numbers.keys() >= {"train/response_accuracy", "train/image_margin", "train/question_margin", "train/drift"}
    for strategy, checkpoint in found.items():
        assert distance(checkpoint, found["single"]) < 1e-5, strategy
        assert logged(tmp_path / strategy).keys() == numbers.keys()


@pytest.mark.parametrize("step", [2, 5])
def test_resumed_equals_uninterrupted(tmp_path: Path, data: dict[str, Any], step: int) -> None:
    """Bit for bit, in the first epoch and in the second one, where the reference of a pair is known already."""
    settings = {
        **data,
        "model__optimization__lr": 1e-3,
        "trainer__max_steps": 7,
        "data__mirror": "true",
        "data__batch_size": 6,
    }
    whole = fit("empo", tmp_path / "whole", **settings)
    saved = tmp_path / "whole" / "checkpoints" / f"step{step}.ckpt"
    resumed = fit("empo", tmp_path / "resumed", ckpt_path=saved, **settings)
    assert resumed.trainer.current_epoch > 0
    for (name, weight), other in zip(
        whole.model.policy.named_parameters(), resumed.model.policy.parameters(), strict=True
    ):
        assert torch.equal(weight, other), name


def test_in_four_bits_an_adapter_learns_from_pairs(
    tmp_path: Path, data: dict[str, Any], make_policy: Callable[..., Policy]
) -> None:
    """And pairs among the validation files are compared, while all other faces are answered."""
    make_policy().save(tmp_path / "base")
    low = {
        **data, **ADAPTER, "model__policy__base": tmp_path / "base", "model__policy__four_bit": "true",
        "model__policy__dtype": "bfloat16", "trainer__precision": "bf16-mixed", "model__optimization__lr": 5e-3,
        "trainer__max_steps": 6, "model__preference__beta": 1.0,
    }  # fmt: skip
    run = fit("empo", tmp_path / "run", **low)
    assert float(run.trainer.callback_metrics["train/response_accuracy"]) > 0.5
    frozen = {name: weight for name, weight in run.model.policy.named_parameters() if not weight.requires_grad}
    assert frozen
    assert all("lora_" not in name for name in frozen)
