"""What a run logged, as curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

Curve = Sequence[tuple[float, float]]  # step and value


def curves_of(run: Path) -> dict[str, Curve]:
    """Every scalar that a run has logged, by its name.

    Args:
        run: folder with the event files of TensorBoard.
    """
    # A third of a second to import, which help and tables need not wait for.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
