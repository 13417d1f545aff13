"""The optimizer's options: moments in 8 bits, and clipping in mixed precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SAVE_EACH_STEP, fit
from torch import nn
from torch.distributed.tensor import DTensor

from fea.errors import FEAError
from fea.training.optimization import Optimization

EIGHT: dict[str, Any] = {
    "model__optimization__eight_bit": "true", "model__optimization__lr": 1e-3, "model__optimization__warmup": 1,
    "trainer__callbacks": f"[{SAVE_EACH_STEP}]", "trainer__max_steps": 6,
}  # fmt: skip


def test_moments_in_eight_bits_learn_and_resume(tmp_path: Path) -> None:
    whole = fit("sft", tmp_path / "whole", **EIGHT)
    kinds = {
        part.dtype
        for state in whole.trainer.optimizers[0].state.values()
        for part in state.values()
        if torch.is_tensor(part)
    }
    assert torch.uint8 in kinds
    plain = fit("sft", tmp_path / "plain", **{**EIGHT, "model__optimization__eight_bit": "false"})
    start = fit("sft", tmp_path / "start", **{**EIGHT, "trainer__max_steps": 0})
    for ours, theirs, before in zip(*(run.model.policy.parameters() for run in (whole, plain, start)), strict=True):
        if not torch.equal(theirs, before) and before.numel() > 4096:
            assert torch.cosine_similarity((ours - before).flatten(), (theirs - before).flatten(), dim=0) > 0.9
    saved = tmp_path / "whole" / "checkpoints" / "step3.ckpt"
    resumed = fit("sft", tmp_path / "resumed", ckpt_path=saved, **EIGHT)
    for ours, theirs in zip(resumed.model.policy.parameters(), whole.model.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_gradients_are_clipped_in_mixed_precision(tmp_path: Path) -> None:
    run = fit(
        "sft", tmp_path / "run", trainer__precision="bf16-mixed", trainer__gradient_clip_val=1.0, trainer__max_steps=2
    )
    assert run.trainer.global_step == 2


def test_sharded_weights_need_the_plain_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fea.training.optimization.DTensor", nn.Parameter)
    assert DTensor is not nn.Parameter
    with pytest.raises(FEAError, match="sharded weights need the plain optimizer; set it to false"):
        Optimization(eight_bit=True).optimizer([nn.Parameter(torch.zeros(1))])
