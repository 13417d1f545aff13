"""Early stopping of a run that goes on: by itself, EarlyStopping would train to the next validation before it stops again."""

from __future__ import annotations

from typing import Any, cast

import lightning.pytorch as L
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities import rank_zero_info


def stopped(trainer: L.Trainer) -> bool:
    """Whether an EarlyStopping has run out of patience."""
    callbacks = [each for each in cast(Any, trainer).callbacks if isinstance(each, EarlyStopping)]
    return any(each.wait_count >= each.patience for each in callbacks)


def stay_stopped(trainer: L.Trainer, states: dict[str, dict[str, Any]]) -> None:
    """Stops a fit at once where the run had stopped for lack of progress, unless it is given more patience now.

    Args:
        trainer: of the fit, before it trains.
        states: those of its callbacks in a checkpoint. They are changed: the patience is that of the settings.
    """
    for callback in cast(Any, trainer).callbacks:
        state = states.get(getattr(callback, "state_key", ""))
        if not isinstance(callback, EarlyStopping) or state is None:
            continue
        state["patience"] = callback.patience
        if state["wait_count"] >= callback.patience:
            trainer.should_stop = True
            rank_zero_info(
                f"resume: the run had stopped early: no {callback.monitor} was better than {float(state['best_score']):.3f} "
                f"in {state['wait_count']} validations; raise the patience of EarlyStopping to train on"
            )
