"""Killed twenty times, at moments of every kind: nothing is lost, and the end is that of a run that was left alone."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import fit, fit_arguments
from processes import start
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fea.errors import FEAError
from fea.rollouts.loader import RolloutCallback
from fea.training.resume import WholeFiles

KEEPING = (
    '{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"filename": "step{step}", '
    '"every_n_train_steps": 2, "monitor": "step", "mode": "max", "save_top_k": 2, "auto_insert_metric_name": false}}'
)
REWARDS = '{"class_path": "fea.callbacks.AUReward"}, {"class_path": "fea.callbacks.FormatReward"}'
COMMON = {
    "model__optimization__lr": 3e-3, "trainer__max_steps": 24, "trainer__val_check_interval": 4, "data__train_faces": 20,
    "trainer__limit_val_batches": 1, "data__eval_batch_size": 4, "trainer__accumulate_grad_batches": 2,
}  # fmt: skip
STAGES: dict[str, dict[str, Any]] = {
    "sft": {**COMMON, "trainer__callbacks": f'[{KEEPING}, {{"class_path": "test_faults.Moments"}}]'},
    "grpo": {
        **COMMON, "trainer__callbacks": f'[{KEEPING}, {REWARDS}, {{"class_path": "test_faults.Moments"}}]',
        "model__mu": 2, "model__minibatches": 2,
    },
}  # fmt: skip
PHASES = {"sft": ["update", "saving", "validation"], "grpo": ["rollout", "update", "saving", "validation"]}
KILLS = 10  # in each stage
PLACE = "FEA_TEST_MOMENT"


class Moments(RolloutCallback):
    """Tells the test what the run is doing, in the file that the environment names."""

    def tell(self, phase: str) -> None:
        if PLACE in os.environ:
            with open(os.environ[PLACE], "a") as file:
                file.write(phase + "\n")

    def on_train_batch_start(self, *args: Any) -> None:
        self.tell("update")

    def on_train_batch_end(self, *args: Any) -> None:
        self.tell("rollout")  # the next one, if this was its last batch

    def on_validation_start(self, *args: Any) -> None:
        self.tell("validation")

    def on_save_checkpoint(self, *args: Any) -> None:
        self.tell("saving")


def kill_in(phase: str, arguments: list[str], folder: Path, chance: random.Random) -> None:
    """Starts the command, waits for some such moment and kills it shortly after."""
    moments = folder / "moments"
    moments.write_text("")
    process = start(arguments, **{PLACE: str(moments)})
    wanted, deadline = chance.randint(1, 3), time.monotonic() + 120
    while moments.read_text().split().count(phase) < wanted and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.05))
    process.kill()
    process.wait()


def logged(folder: Path) -> dict[str, dict[int, float]]:
    """Scalars by step; of several for one step the last. Without those that measure the machine."""
    events = EventAccumulator(str(folder), {"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith(("time/", "memory/"))]
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in tags}


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_killed_ten_times(tmp_path: Path, stage: str) -> None:
    whole = fit(stage, tmp_path / "whole", **STAGES[stage])
    folder, chance = tmp_path / "killed", random.Random(stage)
    arguments = [*fit_arguments(stage, folder, **STAGES[stage]), "--resume"]
    for number in range(KILLS):
        phases = PHASES[stage]
        kill_in(phases[number % len(phases)], arguments, tmp_path, chance)
        for file in folder.glob("checkpoints/*.ckpt"):
            WholeFiles().load_checkpoint(file)
    resumed = fit(stage, folder, resume=True, **STAGES[stage])
    assert resumed.trainer.global_step == whole.trainer.global_step == 24
    for (name, weight), other in zip(
        whole.model.policy.named_parameters(), resumed.model.policy.parameters(), strict=True
    ):
        assert torch.equal(weight, other), name
    assert not list(folder.glob("checkpoints/.*"))
    assert logged(folder) == logged(tmp_path / "whole")


def test_an_image_that_vanishes_during_a_run_is_named(tmp_path: Path) -> None:
    fit("sft", tmp_path / "run", trainer__max_steps=1)
    for image in (tmp_path / "faces").rglob("*.png"):
        image.unlink()
    with pytest.raises(FEAError, match=r"faces\.jsonl:\d+: image '.*' does not exist"):
        fit("sft", tmp_path / "run", trainer__max_steps=2, resume=True)


def test_a_damaged_copy_of_the_data_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    fit("sft", tmp_path / "run", trainer__max_steps=1)
    for shard in (tmp_path / "cache").rglob("*.arrow"):
        shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    assert fit("sft", tmp_path / "again", trainer__max_steps=1).trainer.global_step == 1
