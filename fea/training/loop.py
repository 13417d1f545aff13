"""Where the trainer's loops stand. Whatever is known of the inner life of Lightning is known here, and nowhere else."""

from __future__ import annotations

import sys
from typing import Any, cast

import lightning.pytorch as L
import torch


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
