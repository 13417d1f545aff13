"""A fit with the reward and the metric of consistency: what is logged, and a run that stops and goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from conftest import SAVE_EACH_STEP, fit
from torch import Tensor

from fea.data.prompt import Prompt
from fea.prompts.answer import Answer, parse, render
from fea.rollouts import rollout as rollouts
from fea.rollouts.loader import RolloutCallback
from fea.rollouts.rollout import Rollout


class Kept(RolloutCallback):
    """Keeps rewards."""

    seen: ClassVar[list[Tensor]] = []

    def on_rollout(self, trainer: Any, module: Any, rollout: Rollout, rewards: dict[str, Tensor]) -> None:
        Kept.seen.append(rewards["ConsistencyReward"])


NAMES = ("fea.callbacks.ConsistencyReward", "fea.callbacks.Consistency", "test_consistency_in_training.Kept")
LISTED = [f'{{"class_path": "{name}"}}' for name in NAMES]
CALLBACKS = f"[{', '.join([*LISTED, SAVE_EACH_STEP])}]"


def readable(texts: Sequence[str], prompts: Sequence[Prompt]) -> list[Answer]:
    """Answers that depend on what a random policy wrote, and can be read; every seventh cannot."""
    group = len(texts) // len(prompts)
    said = []
    for number, text in enumerate(texts):
        emotions, chance = prompts[number // group].example.emotions, sum(map(ord, text))
        written = render(f"The lip corners are up (AU{1 + chance % 9}).", emotions[chance % 7])
        said.append(parse(written if chance % 7 else "<think>", emotions))
    return said


def test_it_is_learned_from_and_goes_on_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "parse_all", readable)
    Kept.seen = []
    settings = {
        "trainer__callbacks": CALLBACKS, "model__init_from": "null", "model__policy__tiny__spread": 0.3,
        "trainer__limit_val_batches": 1, "trainer__val_check_interval": 2,
    }  # fmt: skip
    whole = fit("grpo", tmp_path / "whole", **settings)
    scores = torch.stack(Kept.seen)
    known = scores[~scores.isnan()]
    assert ((known >= -1) & (known <= 1)).all()
    assert known.std() > 0.01  # it tells answers apart
    assert scores.isnan().any()
    logged = whole.trainer.logged_metrics
    assert 0 <= logged["val/consistency"] <= 1
    assert {"val/consistency_gain", "val/evidence", "val/evidence_gain"} <= set(logged)
    Kept.seen = []
    inside = tmp_path / "whole" / "checkpoints" / "step2.ckpt"
    resumed = fit("grpo", tmp_path / "resumed", ckpt_path=inside, **settings)
    torch.testing.assert_close(torch.stack(Kept.seen), scores[2:], rtol=0, atol=0, equal_nan=True)
    for one, other in zip(whole.model.policy.parameters(), resumed.model.policy.parameters(), strict=True):
        assert torch.equal(one, other)
