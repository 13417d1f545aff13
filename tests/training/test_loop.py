"""Validation, the end of a run and checkpoints come between optimizer steps, wherever in a step they fall due."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from conftest import SAVE_EACH_STEP, fit
from lightning.pytorch.callbacks import Callback

from fea.errors import FEAError

# 10 batches an epoch and 4 a step: steps end with batch 4, 8 and 10, in the second epoch of all batches with 14, 18 and 20.
RAGGED: dict[str, Any] = {
    "data__train_faces": 10, "data__batch_size": 1, "trainer__accumulate_grad_batches": 4, "trainer__max_steps": -1,
    "trainer__max_epochs": 2, "trainer__limit_val_batches": 1, "data__val_faces": 2, "model__generation__max_tokens": 2,
    "trainer__check_val_every_n_epoch": 1, "trainer__val_check_interval": 1.0,
}  # fmt: skip
ALWAYS = (
    '{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"save_top_k": -1, "filename": "{step}", '
    '"train_time_interval": "00:00:00.000001"}}'
)


class Witness(Callback):
    """Notes the number of the batch, from 1 over all epochs, after which something was done."""

    validated: tuple[int, ...]
    saved: tuple[int, ...]

    def __init__(self) -> None:
        self.validated, self.saved = (), ()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A validation."""
        self.validated += (trainer.fit_loop.total_batch_idx + 1,)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """A checkpoint."""
        self.saved += (trainer.fit_loop.total_batch_idx + 1,)


class Stop(Callback):
    """Asks the trainer to stop within its second step."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """As a time limit does."""
        trainer.should_stop = trainer.should_stop or batch_idx == 5


class Save(Callback):
    """Saves by itself, at a hook and a batch of its own."""

    def __init__(self, hook: str, batch: int, weights_only: bool = False):
        def save(trainer: L.Trainer, *arguments: Any) -> None:
            if trainer.fit_loop.batch_idx == batch:
                trainer.save_checkpoint(Path(trainer.log_dir or ".") / "own.ckpt", weights_only)

        setattr(self, hook, save)


def witness(out: Path, *callbacks: str, **settings: Any) -> Witness:
    """What was done in a run."""
    listed = ", ".join([*callbacks, '{"class_path": "test_loop.Witness"}'])
    cli = fit("sft", out, **RAGGED | {"trainer__callbacks": f"[{listed}]"} | settings)
    return next(callback for callback in cli.trainer.callbacks if isinstance(callback, Witness))


@pytest.mark.parametrize(
    ("every_epoch", "interval", "batches"),
    [
        (1, 6, (8, 18)),  # 6 of either epoch
        (1, 3, (4, 8, 10, 14, 18, 20)),  # 3, 6, 9
        (1, 0.5, (8, 10, 18, 20)),  # 5, 10
        (1, 1.0, (10, 20)),
        ("null", 6, (8, 14, 18)),  # 6, 12, 18
        ("null", 11, (14,)),
        (2, 1, (14, 18, 20)),
        (1, "00:00:00:00", (4, 8, 10, 14, 18, 20)),  # by the clock: always
    ],
)
def test_validation_waits_for_the_end_of_the_step_in_which_it_falls_due(
    tmp_path: Path, every_epoch: object, interval: object, batches: tuple[int, ...]
) -> None:
    own = {"trainer__check_val_every_n_epoch": every_epoch, "trainer__val_check_interval": interval}
    assert witness(tmp_path / "run", **own).validated == batches


def test_a_callback_that_saves_by_the_clock_waits_too(tmp_path: Path) -> None:
    saved = witness(tmp_path / "run", ALWAYS, trainer__limit_val_batches=0).saved
    assert set(saved) == {4, 8, 10, 14, 18, 20}


def test_a_run_that_goes_on_saves_nothing_within_its_first_step(tmp_path: Path) -> None:
    """The trainer forgets that it has saved the step at which it goes on."""
    own = {"trainer__limit_val_batches": 0}
    witness(tmp_path / "run", SAVE_EACH_STEP, **own, trainer__max_steps=2)
    again = witness(tmp_path / "run", SAVE_EACH_STEP, **own, trainer__max_steps=4, resume=True)
    assert set(again.saved) == {10, 14}


def test_a_run_that_is_to_stop_finishes_its_step(tmp_path: Path) -> None:
    done = witness(tmp_path / "run", '{"class_path": "test_loop.Stop"}', ALWAYS)
    assert done.validated == (8,)
    assert set(done.saved) == {4, 8}


@pytest.mark.parametrize(
    ("hook", "batch"), [("on_train_batch_end", 4), ("on_train_batch_start", 4), ("on_before_optimizer_step", 7)]
)
def test_a_checkpoint_within_a_step_is_refused(tmp_path: Path, hook: str, batch: int) -> None:
    own = f'{{"class_path": "test_loop.Save", "init_args": {{"hook": "{hook}", "batch": {batch}}}}}'
    with pytest.raises(FEAError, match="no checkpoint can be written inside optimizer step 1: its gradients"):
        witness(tmp_path / "run", own)
    assert not (tmp_path / "run" / "own.ckpt").exists()


def test_weights_alone_can_be_saved_anywhere_and_all_else_between_steps(tmp_path: Path) -> None:
    words = '"hook": "on_train_batch_end", "batch": {}, "weights_only": {}'
    for batch, weights_only in ((4, "true"), (7, "false")):
        own = f'{{"class_path": "test_loop.Save", "init_args": {{{words.format(batch, weights_only)}}}}}'
        witness(tmp_path / f"run-{batch}", own, trainer__max_epochs=1)
        saved = torch.load(tmp_path / f"run-{batch}" / "own.ckpt", weights_only=True)
        assert ("optimizer_states" in saved) == (weights_only == "false")


def test_a_run_that_fails_within_a_step_saves_nothing_there(tmp_path: Path) -> None:
    rescuer = ALWAYS.replace(
        '"train_time_interval": "00:00:00.000001"', '"every_n_epochs": 9, "save_on_exception": true'
    )
    for hook, files in (("on_before_optimizer_step", 0), ("on_train_batch_end", 1)):
        broken = f'{{"class_path": "test_loop.Fail", "init_args": {{"hook": "{hook}"}}}}'
        with pytest.raises(ZeroDivisionError):
            witness(tmp_path / hook, broken, rescuer)
        assert len(list((tmp_path / hook / "checkpoints").glob("*.ckpt"))) == files


class Fail(Callback):
    """Fails at the end of the second step."""

    def __init__(self, hook: str):
        def fail(trainer: L.Trainer, *arguments: Any) -> None:
            if trainer.fit_loop.batch_idx == 7:
                raise ZeroDivisionError

        setattr(self, hook, fail)
