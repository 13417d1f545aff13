"""What a run logged, as curves."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

Curve = Sequence[tuple[float, float]]  # step and value
METRICS = "metrics.csv"  # of CSVLogger
TABLES = "metrics*.csv"  # those of measurements among them


def curves_of(run: Path) -> dict[str, Curve]:
    """Every scalar that a run has logged, by its name.

    Args:
        run: folder with the event files of TensorBoard or, if there are none, the `metrics.csv` of CSVLogger.
    """
    if (files := sorted(run.glob(TABLES))) and not any(run.glob("events.out.tfevents.*")):
        return {name: points for file in files for name, points in _of_table(file).items()}
    # A third of a second to import, which help and tables need not wait for.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def _of_table(file: Path) -> dict[str, Curve]:
    """A row holds a step and what was logged at once there; of two values for a step the later one counts."""
    curves: dict[str, dict[float, float]] = {}
    with file.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            for name, value in row.items():
                if name and name != "step" and value and row["step"]:  # a kill may have cut the last row short
                    curves.setdefault(name, {})[float(row["step"])] = float(value)
    return {name: sorted(points.items()) for name, points in curves.items()}
