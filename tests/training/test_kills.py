"""A run of a shipped config that is killed right after any of its checkpoints goes on to what it would have come to."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
import yaml
from conftest import CONFIGS, fit_arguments
from lightning.pytorch.callbacks import Callback
from processes import run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

FATAL = "FEA_TEST_FATAL_CHECKPOINT"  # the number of the checkpoint after which a run is killed
# By the name of a run, when it validates: within steps, which have four packs.
INTERVALS: dict[str, dict[str, Any]] = {
    "batches": {"trainer__val_check_interval": 7, "trainer__check_val_every_n_epoch": 1},
    "fraction": {"trainer__val_check_interval": 0.3, "trainer__check_val_every_n_epoch": 1},
    "across": {
        "trainer__val_check_interval": 9, "trainer__check_val_every_n_epoch": "null", "model__mu": 2,
        "model__objective": "{surrogate: gspo, clip_low: 0.01, clip_high: 0.01, entropy: 0.01, scale: none, "
        "baseline: leave_one_out, balance: both, balance_power: 0.5}",
    },
}  # fmt: skip


class Kill(Callback):
    """Kills its process right after a checkpoint has been written, whoever wrote it."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Begins to count."""
        save, self.written = trainer.save_checkpoint, 0

        def save_and_die(*arguments: Any, **options: Any) -> None:
            save(*arguments, **options)
            self.written += 1
            if self.written == int(os.environ.get(FATAL, "0")):
                os.kill(os.getpid(), signal.SIGKILL)

        self.save, trainer.save_checkpoint = save, save_and_die  # type: ignore[method-assign]

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keeps what the run came to, whether its callbacks have saved that or not."""
        self.save(Path(trainer.log_dir or ".") / "end.ckpt")


def little(config: str, out: Path, **settings: Any) -> list[str]:
    """A shipped config with all that it lists, made small: 3 rollouts of 4 packs an epoch, saved after every second step."""
    shipped = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text())
    callbacks = shipped["trainer"]["callbacks"]
    for callback in callbacks:
        if "every_n_train_steps" in callback.get("init_args", {}):
            callback["init_args"]["every_n_train_steps"] = 2
    # The shipped rewards all pay nothing for the few tokens of a small model, which then would learn nothing.
    callbacks += [{"class_path": "test_grpo.Vowels"}, {"class_path": "test_kills.Kill"}]
    own = out.parent / f"{config}.yaml"
    own.write_text(yaml.safe_dump(shipped))
    small = {
        "data__train_faces": 12, "trainer__accumulate_grad_batches": 4, "trainer__limit_val_batches": 1.0,
        "trainer__max_steps": -1, "trainer__max_epochs": 2, "trainer__precision": "bf16-mixed",
        "model__policy__lora": '{"rank": 2, "alpha": 4}', "model__optimization__lr": 5e-3,
    }  # fmt: skip
    words = fit_arguments(config, out, **small | settings)
    words[words.index(str(CONFIGS / f"{config}.yaml"))] = str(own)
    return words


def state(run: Path) -> dict[str, Any]:
    """All that a run came to, as if it lay at the same place as every other run."""
    checkpoint = torch.load(run / "end.ckpt", weights_only=True)
    for name in ("run", "settings"):
        del checkpoint[name]
    for callback in checkpoint["callbacks"].values():
        callback.pop("current_score", None)  # a note of the trainer's that decides nothing and is not restored
    return {name: _elsewhere(value, run) for name, value in checkpoint.items()}


def _elsewhere(value: Any, run: Path) -> Any:
    if isinstance(value, dict):
        return {_elsewhere(key, run): _elsewhere(inner, run) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_elsewhere(inner, run) for inner in value]
    return value.replace(str(run), "RUN") if isinstance(value, str) else value


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two states differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [told for key in one for told in differences(one[key], other[key], f"{place}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            told for n, pair in enumerate(zip(one, other, strict=True)) for told in differences(*pair, f"{place}.{n}")
        ]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.shape == other.shape and torch.equal(one, other)
    else:
        same = bool(one == other) or (one != one and other != other)
    return [] if same else [f"{place}: {one} {other}"[:300]]


def logged(run: Path) -> dict[tuple[str, int], float]:
    """The numbers of the logs by name and step, of two for the same step the later one; without time and memory."""
    events = EventAccumulator(str(run)).Reload()
    return {
        (name, event.step): event.value
        for name in events.Tags()["scalars"]
        if not name.startswith(("time/", "memory/"))
        for event in events.Scalars(name)
    }


def finished(words: list[str], **environment: str) -> None:
    """Runs a command to its end."""
    result = run(words, **environment)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("when", "fatal"), [("batches", (1, 2)), ("fraction", (3,)), ("across", (4,))])
def test_killed_right_after_a_checkpoint_a_run_comes_to_the_same(
    tmp_path: Path, when: str, fatal: tuple[int, ...]
) -> None:
    """All that it holds in the end, and all that it has logged."""
    finished(little("grpo", tmp_path / "whole", **INTERVALS[when]))
    expected, numbers = state(tmp_path / "whole"), logged(tmp_path / "whole")
    assert all(weight.any() for name, weight in expected["state_dict"].items() if "lora_B" in name)  # it has learned
    for checkpoint in fatal:
        folder = tmp_path / f"killed-{checkpoint}"
        words = little("grpo", folder, **INTERVALS[when])
        assert run(words, **{FATAL: str(checkpoint)}).returncode == -signal.SIGKILL
        finished([*words, "--resume"])
        assert not differences(expected, state(folder))
        assert not differences(numbers, logged(folder))
