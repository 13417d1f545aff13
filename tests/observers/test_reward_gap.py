"""The gap between what samples earn in training and what greedy answers to other faces earn."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import SAVE_EACH_STEP, fit
from lightning.pytorch.trainer.states import TrainerFn

from fea.callbacks import RewardGap
from fea.reports.curves import curves_of
from fea.rewards import RewardCallback
from fea.rollouts.rollout import Rollout


class Given(RewardCallback):
    """Scores that the test has written down."""

    def rewards(self, rollout: Rollout) -> torch.Tensor:
        return torch.tensor(rollout.completions)  # type: ignore[arg-type]


def answered(scores: list[list[float]]) -> Rollout:
    """Answers to faces, with the scores that they will get."""
    return Rollout([None] * len(scores), len(scores[0]), scores, [])  # type: ignore[list-item, arg-type]


def test_the_gap_is_the_mean_of_training_rollouts_less_that_of_validation_answers() -> None:
    trainer: Any = SimpleNamespace(
        callbacks=[Given(2.0, "a"), Given(1.0, "b")], state=SimpleNamespace(fn=TrainerFn.FITTING)
    )
    logged: dict[str, float] = {}
    module: Any = SimpleNamespace(log=logged.__setitem__)
    gap, nan = RewardGap(), torch.nan

    gap.on_validation_epoch_end(trainer, module)
    assert logged == {}  # nothing was answered
    gap.on_rollout(
        trainer, module, answered([[0.0]]), {"a": torch.tensor([[1.0, 0.0]]), "b": torch.tensor([[nan, nan]])}
    )
    gap.on_rollout(
        trainer, module, answered([[0.0]]), {"a": torch.tensor([[1.0, 1.0]] * 3), "b": torch.tensor([[1.0, 0.0]] * 3)}
    )
    for scores in ([[0.0], [1.0], [nan]], [[0.5]]):
        gap.on_validation_batch_end(trainer, module, answered(scores), None, 0)
    gap.on_validation_batch_end(trainer, module, None, None, 1)  # a batch of unreadable images
    gap.on_validation_epoch_end(trainer, module)
    assert logged["val/reward"] == pytest.approx((0 + 3 + 0 + 1.5) / 4)
    assert logged["val/reward_gap"] == pytest.approx(
        (1.0 + 3 * 2.5) / 4 - 4.5 / 4
    )  # a rollout of one face and one of three

    logged.clear()
    gap.on_validation_batch_end(trainer, module, answered([[1.0]]), None, 0)
    gap.on_validation_epoch_end(trainer, module)
    assert logged == {"val/reward": 3.0}  # no rollout since


def test_answers_outside_of_training_do_not_count() -> None:
    trainer: Any = SimpleNamespace(callbacks=[Given()], state=SimpleNamespace(fn=TrainerFn.VALIDATING))
    gap = RewardGap()
    gap.on_validation_batch_end(trainer, None, answered([[1.0]]), None, 0)  # type: ignore[arg-type]
    assert gap.answered == (0.0, 0)


def test_a_run_that_goes_on_between_two_validations_logs_the_same_gaps(tmp_path: Path) -> None:
    watched = '{"class_path": "test_grpo.Vowels"}, {"class_path": "fea.callbacks.RewardGap"}'
    settings: dict[str, Any] = {
        "trainer__callbacks": f"[{watched}, {SAVE_EACH_STEP}]",
        "trainer__max_steps": 6, "trainer__val_check_interval": 3, "trainer__limit_val_batches": 1,
        "model__optimization__lr": 1e-2,
    }  # fmt: skip
    fit("grpo", tmp_path / "whole", **settings)
    fit("grpo", tmp_path / "again", ckpt_path=tmp_path / "whole" / "checkpoints" / "step4.ckpt", **settings)
    whole, again = (dict(curves_of(tmp_path / name)["val/reward_gap"]) for name in ("whole", "again"))
    last = max(whole)
    assert len(whole) == 2
    assert again[last] == whole[last] != 0
