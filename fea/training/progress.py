"""What a run says where nobody watches a terminal: plain lines instead of a bar; at its end, where the best checkpoint is."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from fea.errors import FEAError
from fea.system.progress import EVERY, duration, now

# What a line shows, by the name in the logs.
_MEASURED = (
    "au_f1",
    "emotion_f1",
    "accuracy",
)  # of the many numbers that are logged: means over classes, and over faces
_TRAINING = {"loss": "train/loss", "reward": "reward/total", **{name: f"rollout/{name}" for name in _MEASURED}}
_VALIDATION = {name: f"val/{name}" for name in ("score", *_MEASURED, "format", "reward")}
_NONE: Mapping[str, str] = MappingProxyType({})


class ProgressLines(Callback):
    """Says how a run goes, if its output is no terminal: at the first step, every few steps, and at every validation.

        2025-03-01 14:30:05 fit epoch=0 step=50/320 reward=1.31 au_f1=0.41 emotion_f1=0.48 accuracy=0.5 lr=0.0001 left=0:04:31
        2025-03-01 14:30:41 validating epoch=0 step=80/320 batches=7
        2025-03-01 14:30:58 validation epoch=0 step=80/320 score=0.531 au_f1=0.612 emotion_f1=0.45 accuracy=0.49 format=1

    The first validation is announced, and work that takes longer says a line a minute. Every command of the trainer has one of
    these by itself; one that is listed under trainer.callbacks takes its place, and with `trainer.enable_progress_bar: false`
    nothing is said.

    Args:
        every: optimizer steps between two lines; by default those between two checkpoints of the shipped configs.
    """

    def __init__(self, every: int = 50):
        if every < 1:
            raise FEAError(f"ProgressLines.every: {every}; give at least 1")
        self.every = every
        self.first = self.speaks = self.announced = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Takes the place of the bar, which would fill a file with carriage returns."""
        bar, plain = trainer.progress_bar_callback, not sys.stdout.isatty()
        first = next(other for other in cast(Any, trainer).callbacks if isinstance(other, ProgressLines))
        self.first = first is self and trainer.is_global_zero
        self.speaks = self.first and plain and bar is not None
        if bar is not None and plain:
            bar.disable()
        self.said = time.monotonic()

    # --- fit ---

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins to count, for the time that is left."""
        self.begun, self.start = time.monotonic(), trainer.global_step
        self.step = self.start

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Says a line after the first optimizer step, after every few of them, and after a minute."""
        if trainer.global_step == self.step:
            return
        self.step = trainer.global_step
        if not self.speaks:
            return
        if self.step == self.start + 1 or self.step % self.every == 0 or self._silent_for_long():
            shown = _found(trainer, _TRAINING) | {"lr": float(trainer.optimizers[0].param_groups[0]["lr"])}
            self._say("fit", trainer, shown, self._left(trainer))

    def _left(self, trainer: L.Trainer) -> dict[str, str]:
        """The time that is left, at the pace so far; {} if the fit has no end."""
        steps = self.step - self.start
        left = (time.monotonic() - self.begun) / steps * (_last(trainer) - self.step)
        return {"left": duration(left)} if math.isfinite(left) else {}

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Says where the best checkpoint is, on a terminal too."""
        told = _best(trainer) if stage == "fit" and self.first else ""
        if told:
            print(told, flush=True)

    # --- validation, test, prediction ---

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Says once how much is coming: answers are written, which takes longer than a step."""
        if not trainer.sanity_checking and not self.announced:
            self.announced = True
            self._say("validating", trainer, {}, {"batches": f"{sum(trainer.num_val_batches):.0f}"})

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Says what was measured."""
        if not trainer.sanity_checking:
            self._say("validation", trainer, _found(trainer, _VALIDATION))

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        """Says a line after a minute."""
        self._still("validation", trainer, batch_idx, trainer.num_val_batches)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        """Says a line after a minute."""
        self._still("test", trainer, batch_idx, trainer.num_test_batches)

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        """Says a line after a minute."""
        self._still("predict", trainer, batch_idx, trainer.num_predict_batches)

    def _still(self, kind: str, trainer: L.Trainer, index: int, batches: Sequence[float]) -> None:
        if self._silent_for_long():
            self._say(kind, trainer, {}, {"batch": f"{index + 1}/{sum(batches):.0f}"})

    # --- lines ---

    def _silent_for_long(self) -> bool:
        return time.monotonic() - self.said >= EVERY

    def _say(self, kind: str, trainer: L.Trainer, numbers: dict[str, float], more: Mapping[str, str] = _NONE) -> None:
        if self.speaks:
            place = (
                _place(trainer) if trainer.state.fn == "fit" else {}
            )  # outside of a fit the trainer counts no batches
            words = {**place, **{name: f"{number:.4g}" for name, number in numbers.items()}, **more}
            print(now(), kind, *(f"{name}={word}" for name, word in words.items()), flush=True)
            self.said = time.monotonic()


def _found(trainer: L.Trainer, names: Mapping[str, str]) -> dict[str, float]:
    """Of some numbers those that were logged, by the name that a line has for them."""
    logged = trainer.callback_metrics
    return {name: float(logged[tag]) for name, tag in names.items() if tag in logged}


def _place(trainer: L.Trainer) -> dict[str, str]:
    last = _last(trainer)
    step = f"{trainer.global_step}/{last:.0f}" if math.isfinite(last) else f"{trainer.global_step}"
    return {"epoch": f"{trainer.current_epoch}", "step": step}


def _last(trainer: L.Trainer) -> float:
    """The optimizer step at which the fit will end, as far as one can tell: its training set may grow."""
    steps, epochs = trainer.max_steps, trainer.max_epochs
    of_epochs = math.inf
    if epochs is not None and epochs >= 0:
        of_epochs = epochs * math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    return min(math.inf if steps < 0 else steps, of_epochs)


def _best(trainer: L.Trainer) -> str:
    """Where the best checkpoint is; "" if none is chosen by a validation."""
    for saver in trainer.checkpoint_callbacks:
        if isinstance(saver, ModelCheckpoint) and saver.best_model_path and (saver.monitor or "").startswith("val/"):
            return (
                f"best checkpoint: {saver.best_model_path} ({saver.monitor} {float(saver.best_model_score or 0):.4g})"
            )
    return ""
