"""Training is pinned: the numbers of twelve steps of stage 1 and of six rollouts of stage 2, as they were once.

A change that is meant to change nothing leaves them as they are. One that is meant to change them says so, and pins them anew:

    python tests/house/test_trajectory.py
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

sys.path.append(str(Path(__file__).parents[1]))

from conftest import fit

PINNED = Path(__file__).with_name("trajectory.json")
RATE = 3e-3
STAGES: dict[str, dict[str, Any]] = {
    "sft": {"trainer__max_steps": 12, "data__mirror": "true", "trainer__accumulate_grad_batches": 2},
    "grpo": {
        "trainer__max_steps": 24,  # six rollouts, each used twice for two optimizer steps
        "trainer__accumulate_grad_batches": 2,
        "model__mu": 2,
        "model__minibatches": 2,
        "model__objective__beta": 0.1,
        "model__objective__advantage": "normalize_then_sum",
        "model__objective__scale": "group",
        "model__sft_weight": 0.2,
        "data__balance": "null",
        "data__balance_power": 1.0,
    },
}  # fmt: skip
REWARDS = '{"class_path": "test_grpo.Vowels"}, {"class_path": "fea.callbacks.AUReward"}'
WATCHED = {
    *("train/loss", "train/grad_norm", "train/entropy", "train/kl", "train/clipped_low", "train/clipped_high"),
    *("train/replay_loss", "train/sampling_gap", "reward/Vowels", "reward/total", "advantage/abs_mean"),
    *("completions/length", "completions/truncated"),
}


class Recorder(Callback):
    """Keeps what is logged at each optimizer step."""

    steps: list[dict[str, float]]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        type(self).steps = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.global_step > len(self.steps):
            logged = trainer.callback_metrics.items()
            self.steps.append({name: float(value) for name, value in logged if name in WATCHED})


def trajectory(stage: str, folder: Path) -> dict[str, list[float]]:
    """By name of a number, its value at each optimizer step."""
    recorder = '{"class_path": "test_trajectory.Recorder"}'
    callbacks = f"[{REWARDS}, {recorder}]" if stage == "grpo" else f"[{recorder}]"
    done = fit(stage, folder, trainer__callbacks=callbacks, model__optimization__lr=RATE, **STAGES[stage])
    import test_trajectory

    steps = test_trajectory.Recorder.steps
    found = {name: [step[name] for step in steps] for name in sorted(steps[0])}
    weights = [parameter.detach().double() for parameter in done.model.policy.parameters()]
    return {**found, "weights": [float(sum(w.abs().sum() for w in weights)), float(sum(w.sum() for w in weights))]}


@pytest.mark.parametrize("stage", STAGES)
def test_the_trajectory_is_the_one_that_was_pinned(stage: str, tmp_path: Path) -> None:
    """Up to what another processor or another release of torch makes of the last digits."""
    pinned = json.loads(PINNED.read_text())[stage]
    found = trajectory(stage, tmp_path / "run")
    assert found.keys() == pinned.keys()
    for name, values in pinned.items():
        assert found[name] == pytest.approx(values, rel=1e-5, abs=1e-6), name


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    sys.path.append(str(Path(__file__).parent))
    os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp()
    told = {stage: trajectory(stage, Path(tempfile.mkdtemp()) / "run") for stage in STAGES}
    PINNED.write_text(json.dumps(told, indent=1) + "\n")
