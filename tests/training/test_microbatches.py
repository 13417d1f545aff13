"""Microbatches together with what else a fit can have: a base in 4 bits, DeepStack, adapters on the tower, a kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SAVE_EACH_STEP, SMALL, fit

from fea.model.policy import Policy

LORA = '{"rank": 4, "alpha": 8, "vision": {"rank": 3}}'
VOWELS = '{"class_path": "test_grpo.Vowels"}'
GRADIENTS = '{"class_path": "test_grpo.Gradients"}'


@pytest.fixture(params=["qwen3_vl", "qwen2_5_vl"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, make_policy: Callable[..., Policy]) -> dict[str, Any]:
    """Two packs a step on a base of the family."""
    make_policy(tiny=replace(SMALL, layers=3, vision_layers=3, family=request.param)).save(tmp_path / "base")
    return {
        "model__policy__base": tmp_path / "base", "model__policy__lora": LORA, "model__policy__checkpointing": "true",
        "model__optimization__lr": 5e-3, "model__optimization__warmup": 0, "model__objective__beta": 0.1,
        "trainer__accumulate_grad_batches": 2,
    }  # fmt: skip


def test_gradients_of_all_adapters_are_those_of_the_whole(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Of the second step of a rollout, when adapters have moved, and with them what the tower sees."""
    from test_grpo import Gradients

    own = {**settings, "trainer__max_steps": 2, "model__mu": 2, "trainer__callbacks": f"[{VOWELS}, {GRADIENTS}]"}
    fit("grpo", tmp_path / "whole", **own)
    whole = Gradients.seen
    fit("grpo", tmp_path / "parts", model__microbatches=3, **own)
    assert any(".visual." in name and gradient.any() for name, gradient in whole.items())
    gap = sum((Gradients.seen[name] - gradient).square().sum() for name, gradient in whole.items())
    assert (
        gap / sum(gradient.square().sum() for gradient in whole.values())
    ) ** 0.5 < 1e-5  # fp32, after a step of Adam


def test_in_4_bits_a_resumed_run_is_one_that_never_stopped(tmp_path: Path, settings: dict[str, Any]) -> None:
    """From inside a rollout."""
    own = {
        **settings, "model__policy__four_bit": "true", "model__policy__dtype": "bfloat16", "trainer__precision": "bf16-mixed",
        "model__microbatches": 3, "model__minibatches": 2, "trainer__max_steps": 4,
        "trainer__callbacks": f"[{VOWELS}, {SAVE_EACH_STEP}]",
    }  # fmt: skip
    fit("grpo", tmp_path / "whole", **own)
    saved = tmp_path / "whole" / "checkpoints"
    fit("grpo", tmp_path / "resumed", ckpt_path=saved / "step1.ckpt", **own)
    first, whole, resumed = (
        torch.load(file, weights_only=True)["state_dict"]
        for file in (saved / "step1.ckpt", saved / "step4.ckpt", tmp_path / "resumed" / "checkpoints" / "step4.ckpt")
    )
    assert [name for name, weight in whole.items() if torch.equal(first[name], weight)] == []
    assert [name for name, weight in whole.items() if not torch.equal(resumed[name], weight)] == []
