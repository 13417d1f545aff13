"""Runs of the shipped configs on drawn faces, each a process of its own, as a user starts it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import processes
from conftest import CONFIGS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from .setting import CARD, REHEARSAL, SIZES
from .watching import FILE

_CALLBACKS = {
    "sft": ["gpu.watching.Taken"],
    "grpo": [
        *(f"fea.callbacks.{name}" for name in ("AUReward", "FormatReward", "SelfCheck")),
        *("test_grpo.Vowels", "gpu.watching.Taken"),  # a random model earns nothing else
    ],
}


class Run(NamedTuple):
    """A fit that may be run.

    Attributes:
        words: its command.
        folder: that it writes into.
    """

    words: list[str]
    folder: Path

    def start(self, *more: str) -> processes.Process:
        """Begins it, with further options."""
        cache = str(self.folder.parent / "cache")
        return processes.start([*self.words, *more], fresh=CARD, HF_DATASETS_CACHE=cache)

    def end(self, *more: str) -> str:
        """Runs it to its end; returns what it said."""
        ended = processes.ended(self.start(*more), timeout=540)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout + ended.stderr

    def curves(self) -> dict[str, list[float]]:
        """What it has logged, by name."""
        board = EventAccumulator(str(self.folder))
        board.Reload()
        return {tag: [event.value for event in board.Scalars(tag)] for tag in board.Tags()["scalars"]}

    def taken(self) -> dict[str, Any]:
        """`peak` in GiB and `seconds` of each step."""
        told: dict[str, Any] = json.loads((self.folder / FILE).read_text())
        return told

    def planned(self) -> float:
        """GiB that `fea plan` foresees."""
        told = processes.run(["plan", *self.words[1:]], fresh=CARD).stdout
        size, unit = re.findall(r"^ *peak +([\d.]+) (GiB|MiB)", told, re.MULTILINE)[0]
        return float(size) / {"GiB": 1, "MiB": 1024}[unit]


def run_of(stage: str, bits: str, base: Path, name: str, *callbacks: str, **settings: object) -> Run:
    """A run of a shipped config with a model of ours, without validation.

    Args:
        stage: "sft" or "grpo".
        bits: "bf16" or "4 bits".
        base: folder of the model.
        name: of the folder of the run, beside the model.
        callbacks: further ones, in JSON.
        settings: further options, with `__` for the dot.
    """
    place = base.parent / "runs"
    place.mkdir(exist_ok=True)
    policy = {"base": str(base), "four_bit": bits == "4 bits", **SIZES.shown}
    # Text, so that there is something to learn in stage 1; a plan without validation has no batch of it either.
    data = {"folder": str(base.parent / "faces"), "text": "analysis", "train": [], "train_faces": 64, "val_faces": 4}
    overlay = {
        "model": {"init_args": {"init_from": None, "policy": policy}},
        "data": {"class_path": "fea.drawn.module.RenderedFaces", "init_args": {**data, "eval_batch_size": 1}},
        "trainer": {
            "limit_val_batches": 0, "max_steps": 3, "enable_progress_bar": False, "enable_model_summary": False,
            "logger": {"init_args": {"save_dir": str(place), "name": name}},
            "callbacks": [*({"class_path": path} for path in _CALLBACKS[stage]), *map(json.loads, callbacks)],
        },
    }  # fmt: skip
    file = place / f"{name}.yaml"
    file.write_text(json.dumps(overlay))  # YAML is read, and this is YAML too
    options = SIZES.fit | (SIZES.grpo if stage == "grpo" else {})
    options |= {key.replace("__", "."): value for key, value in settings.items()}
    configs = ["--config", str(CONFIGS / f"{stage}.yaml"), "--config", str(file)]
    return Run(["fit", *configs, *(f"--{key}={value}" for key, value in options.items())], place / name)


def tell_memory(check: str, run: Run, figures: Callable[..., None]) -> None:
    """Compares the peak of a run with its plan; on a CPU the peak is that of the process, and in little most of
    it is what libraries take: no plan is about that."""
    peak, planned = run.taken()["peak"], run.planned()
    figures(
        check,
        f"{peak:.2f} GiB, planned {planned:.2f}",
        abs(peak / planned - 1) < 0.15 if CARD and not REHEARSAL else None,
    )
