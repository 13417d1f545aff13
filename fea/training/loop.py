"""Where the trainer's loops stand. Whatever is known of the inner life of Lightning is known here, and nowhere else."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop


class WholeSteps(_TrainingEpochLoop):
    """The loop over the batches of an epoch, which validates and ends between optimizer steps only.

    A checkpoint holds no gradients: one that is written while some are accumulated would be resumed without them. What falls
    due within a step waits for its end, here validation every 6 batches with 4 batches a step, in an epoch of 18:

        batches      1 2 3 4   5 6 7 8   9 10 11 12   13 14 15 16   17 18
        due                      ^               ^                     ^
        validates                    ^           ^                     ^
    """

    @property
    def done(self) -> bool:
        """Whether the epoch is over; a step that was begun is finished even if the trainer is to stop."""
        return bool(super().done) and not self._should_accumulate()

    def _should_check_val_fx(self, data_fetcher: Any) -> bool:
        if self._should_accumulate():
            return False
        return bool(super()._should_check_val_fx(data_fetcher)) or self._fell_due()

    def _fell_due(self) -> bool:
        """Whether an interval of validation, counted in batches, has ended within the step that was just made."""
        trainer, every = self.trainer, self.trainer.val_check_batch
        if every is None or math.isinf(every) or not self._should_check_val_epoch():
            return False
        made = (self.total_batch_idx if trainer.check_val_every_n_epoch is None else self.batch_idx) + 1
        return bool(made % every <= self.batch_idx % trainer.accumulate_grad_batches)


def keep_steps_whole(trainer: L.Trainer) -> None:
    """Keeps the trainer from validating, stopping or saving while a part of a gradient is accumulated."""
    loop = trainer.fit_loop.epoch_loop
    if not isinstance(loop, WholeSteps):
        loop.__class__ = WholeSteps  # a new loop would lack what the trainer has put into this one
        for saver in trainer.checkpoint_callbacks:
            _let_wait(saver)


def _let_wait(saver: Checkpoint) -> None:
    """Lets a callback that saves after batches, or when a run fails, do so between optimizer steps only."""
    save, rescue = saver.on_train_batch_end, saver.on_exception

    def on_train_batch_end(trainer: L.Trainer, *args: Any) -> None:
        if not inside_step(trainer):
            save(trainer, *args)

    def on_exception(trainer: L.Trainer, *args: Any) -> None:
        if not inside_step(trainer):
            rescue(trainer, *args)

    cast(Any, saver).on_train_batch_end, cast(Any, saver).on_exception = on_train_batch_end, on_exception


def inside_step(trainer: L.Trainer) -> bool:
    """Whether a batch is under way, or gradients are accumulated that no optimizer step has used."""
    loop = cast(Any, trainer.fit_loop.epoch_loop)
    batches = loop.batch_progress.current
    return bool(batches.ready != batches.processed or loop._should_accumulate())


def whole_epochs(trainer: L.Trainer) -> int:
    """Epochs that are complete.

    The trainer counts one at its end, or when it goes on after its last batch, or not at all.
    """
    loop = cast(Any, trainer.fit_loop)
    begun, ended = loop.epoch_progress.current.ready, loop.epoch_progress.current.processed
    return int(max(begun, ended) if loop.epoch_loop.batch_progress.is_last_batch else min(begun - 1, ended))


def validation_due(trainer: L.Trainer) -> bool:
    """Whether the trainer validates after the batch at which it stands."""
    loop = cast(Any, trainer.fit_loop)
    return loop._data_fetcher is not None and bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))


def validate(trainer: L.Trainer) -> None:
    """Validates now, inside a fit."""
    trainer.validating = True
    trainer.fit_loop.epoch_loop.val_loop.run()
    trainer.training = True


def unlogged(trainer: L.Trainer) -> dict[str, float]:
    """Numbers of the present step that the trainer logs only when all callbacks have seen its last batch; {} if it has."""
    inner = cast(Any, trainer)._logger_connector
    batches = cast(Any, trainer.fit_loop.epoch_loop.batch_progress.current)
    if batches.processed == batches.completed or not inner.should_update_logs:
        return {}
    return {name: float(value) for name, value in inner.metrics["log"].items()}


def log(trainer: L.Trainer, numbers: dict[str, float]) -> None:
    """Logs numbers at the present step."""
    cast(Any, trainer)._logger_connector.log_metrics(numbers)


def write_on(logger: CSVLogger, file: Path, columns: Sequence[str]) -> None:
    """Has a logger add to a file, where by itself it would delete the `metrics.csv` that it finds.

    Args:
        logger: that has written nothing yet.
        file: which need not be there; its folder is made.
        columns: of the file; none if it is not there.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as empty:
        writer = ExperimentWriter(empty)
    writer.log_dir, writer.metrics_file_path, writer.metrics_keys = logger.log_dir, str(file), list(columns)
    logger._experiment = writer


def find_place(trainer: L.Trainer) -> None:
    """Puts loader and loops where the checkpoint says, in three cases that the trainer misses.

    Where training ends after a number of epochs, it has loaded the data to count the steps before it knew its place in them. A
    checkpoint from the end of an epoch is followed by more batches of that epoch if training ends after a number of steps, or
    if the next epoch is longer.
    """
    loop = cast(Any, trainer.fit_loop)
    loop._load_combined_loader_states()
    if loop.restarted_on_epoch_end:
        loop.epoch_progress.increment_completed()
        loop.reset_restart_stage()
        loop.epoch_loop.restarting = False
    elif loop.epoch_loop.restarted_on_train_batch_end and loop.epoch_loop.batch_progress.is_last_batch:
        loop.reset_restart_stage()
        loop.epoch_loop.batch_progress.current.completed = sys.maxsize  # as many as the next epoch may have


def clippable(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """A fused optimizer as the trainer accepts it: else it refuses to clip gradients in mixed precision."""
    cast(Any, optimizer)._step_supports_amp_scaling = False
    return optimizer
