"""A run that is asked to stop saves and stops, at the next optimiser step and on all processes together."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback

from fea.errors import FEAError
from fea.system.processes import gathered
from fea.system.signals import SIGNALS


class Interrupted(FEAError):
    """The run was asked to stop, and did.

    Args:
        number: of the signal.
        message: where it is saved, and how to go on.
        first: whether this process is the first of the run; the others end as if all were done.
    """

    def __init__(self, number: int, message: str, first: bool):
        super().__init__(message)
        self.code = 128 + number if first else 0


class Interruption(Callback):
    """Saves `checkpoints/last.ckpt` and stops when SIGTERM or SIGUSR1 has come."""

    def __init__(self) -> None:
        self.received, self.step = 0, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins to listen."""
        self.step = trainer.global_step
        self.listen(trainer)

    def listen(self, trainer: L.Trainer) -> None:
        """Takes the place of the trainer's handlers, which talk to other processes wherever these may be."""
        if trainer.received_sigterm:
            self.received = int(signal.SIGTERM)
        for number in SIGNALS:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Asks all processes after each optimiser step."""
        if trainer.global_step != self.step:
            self.step = trainer.global_step
            self.obey(trainer)

    def obey(self, trainer: L.Trainer) -> None:
        """Saves and stops if one of the processes, all of which call this, has had a signal.

        Raises:
            Interrupted: it has; the run is saved.
        """
        number = max(gathered(self.received))
        if number:
            file = Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints" / "last.ckpt"
            trainer.save_checkpoint(file)
            raise Interrupted(
                number,
                f"stopped by {signal.Signals(number).name} after {trainer.global_step} steps and saved as '{file}'; the same "
                "command with --resume goes on",
                trainer.is_global_zero,
            )
