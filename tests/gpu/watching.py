"""A callback of the trainer: what a run takes, whatever its stage reports."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback

from fea.system.machine import peak_memory

FILE = "taken.json"


class Taken(Callback):
    """Writes down the largest memory in GiB and the seconds of each optimizer step, the first with what comes before it."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The clock starts."""
        self.step, self.ends = trainer.global_step, [time.perf_counter()]

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Reads it after each step."""
        if trainer.global_step != self.step:
            self.step = trainer.global_step
            self.ends.append(time.perf_counter())

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the file."""
        seconds = [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)]
        told = json.dumps({"peak": peak_memory(), "seconds": seconds})
        (Path(str(trainer.log_dir)) / FILE).write_text(told)
