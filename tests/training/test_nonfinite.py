"""Gradients that are not finite: one costs its step, too many end the run and leave its batches behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from conftest import fit
from lightning.pytorch.callbacks import Callback

from fea.errors import FEAError


class Poison(Callback):
    """Puts a NaN into the gradient of some steps."""

    steps: ClassVar[set[int]] = set()

    def __init__(self) -> None:
        self.step = 0

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        """Runs before the module looks."""
        if self.step in Poison.steps:
            next(iter(module.policy.trainable().values())).grad.view(-1)[0] = torch.nan
        self.step += 1


POISONED: dict[str, Any] = {"trainer__callbacks": '[{"class_path": "test_nonfinite.Poison"}]', "trainer__max_steps": 6}


@pytest.mark.filterwarnings("ignore:.*gradient is not finite.*")
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_too_many_in_a_row_end_the_run_with_the_batches_of_the_last(tmp_path: Path, stage: str) -> None:
    Poison.steps = {1, 2, 3}
    rewards = "" if stage == "sft" else ', {"class_path": "test_grpo.Vowels"}'
    settings = {
        **POISONED, "trainer__callbacks": f'[{{"class_path": "test_nonfinite.Poison"}}{rewards}]',
        "model__optimization__patience": 3, "trainer__accumulate_grad_batches": 2,
    }  # fmt: skip
    with pytest.raises(FEAError, match=r"3 steps in a row .*nonfinite-step3[.]pt'; lower model[.]optimization[.]lr"):
        fit(stage, tmp_path / "run", **settings)
    batches = torch.load(tmp_path / "run" / "nonfinite-step3.pt", weights_only=True)
    assert len(batches) == 2
    assert all(len(batch["examples"]) == len(batch["prompts"]) for batch in batches)
    assert sum(len(batch["examples"]) for batch in batches) == (8 if stage == "sft" else 4)
    assert stage == "sft" or batches[0]["advantages"].shape == batches[0]["ids"].shape


@pytest.mark.filterwarnings("ignore:.*gradient is not finite.*")
def test_good_steps_between_bad_ones_go_on(tmp_path: Path) -> None:
    Poison.steps = {0, 1, 3, 4}
    run = fit("sft", tmp_path / "run", **POISONED, model__optimization__patience=3)
    assert run.model.guard.skipped == 4
    steps = {int(state["step"]) for state in run.trainer.optimizers[0].state.values()}
    assert steps == {2}  # the moments have met two gradients
    run.trainer.save_checkpoint(tmp_path / "saved.ckpt")
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)
    assert saved["fea"]["skipped"] == 4


def test_a_patience_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FEAError, match=r"model.optimization.patience: 0; at least 1 step has to fail"):
        fit("sft", tmp_path / "run", model__optimization__patience=0)
