"""`fea demo`: the whole method on a laptop, from drawn faces to a report.

    faces -> base -> stage 1 (SFT) -> stage 2 (GRPO) -> a table of all three on the same held-out faces

Every stage is a `fea fit` that could be typed, and is printed. The base stands in for pretraining: a vision tower that has
learned to tell sixteen movements apart, and a language model that names them in plain words. It has met no emotion, no code of
an Action Unit and no answer block. It is made once and kept.
"""

from __future__ import annotations

import shlex
import shutil
import time
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from fea.analyze import load_policy
from fea.checkpoints import RESULT
from fea.data.rendered import RenderedFaces
from fea.files import write_atomically
from fea.scoreboard import Entry, annotator_entry, answered, faces_of, write_board
from fea.trainer_cli import run


class Budget(NamedTuple):
    """How much of everything a demo does.

    Attributes:
        captions: faces with captions, for the base.
        tower_steps: optimiser steps for the base's vision tower.
        caption_steps: optimiser steps for its captions.
        analyses: faces with analyses, for stage 1.
        sft_steps: optimiser steps of stage 1.
        rollouts: optimiser steps of stage 2, each with a rollout of 16 faces.
        validation: faces for the choice of the best checkpoint.
        held_out: faces that all stages are judged on.
    """

    captions: int
    tower_steps: int
    caption_steps: int
    analyses: int
    sft_steps: int
    rollouts: int
    validation: int
    held_out: int


FULL = Budget(6000, 500, 750, 300, 320, 200, 200, 1500)
QUICK = Budget(640, 40, 30, 150, 60, 16, 20, 60)

_WHOLE_MODEL = {"model.policy.train_vision": "true", "model.optimization.lr": "1e-3", "model.optimization.warmup": "50"}


def demo(out: Path = Path("runs/demo"), seed: int = 0, quick: bool = False, controls: bool = False) -> int:
    """Teaches a tiny model to read drawn faces: all stages, a table of their scores, and `report.html`.

    Args:
        out: folder of runs, faces and report; the base model in it is made once and kept.
        seed: of the training faces, their order and the sampling; the base and the held-out faces stay the same.
        quick: everything in little, to see that it runs.
        controls: also what the gain has to be compared with: stage 1 continued for as long as stage 2 takes, stage 1 on as
            many true analyses, and the annotator that stage 1 learns from.

    Returns:
        0.
    """
    stages = Stages(out / "quick", seed, QUICK) if quick else Stages(out, seed, FULL)
    stages.base()
    stages.sft("sft")
    stages.grpo("grpo", after="sft")
    write_atomically(stages.out / RESULT, b"grpo\n")
    if controls:
        longer = stages.seconds["grpo"] / stages.seconds["sft"]
        stages.sft("sft_continued", after="sft", share=longer)
        stages.sft("sft_true", text="analysis")

    faces = faces_of(RenderedFaces(str(stages.out / "faces"), test_faces=stages.budget.held_out).draw("test"))
    entries = [
        Entry("base", *answered(stages.out / "base" / "captions", faces)),
        Entry("SFT", *answered(stages.out / "sft", faces)),
        Entry("SFT + GRPO", *answered(stages.out / "grpo", faces)),
    ]
    if controls:
        entries += [
            Entry("control: SFT continued", *answered(stages.out / "sft_continued", faces)),
            Entry("control: SFT on true analyses", *answered(stages.out / "sft_true", faces)),
            annotator_entry(faces),
        ]
    write_board(stages.out, faces, entries, stages.commands)
    return 0


class Stages:
    """The fits of a demo, each a command of the trainer.

    Args:
        out: folder of the runs.
        seed: of faces, order and sampling.
        budget: how much of everything.
    """

    def __init__(self, out: Path, seed: int, budget: Budget):
        self.out, self.seed, self.budget = out, seed, budget
        self.commands: list[str] = []
        self.seconds: dict[str, float] = {}

    @property
    def model(self) -> Path:
        """Folder of the base model."""
        return self.out / "base" / "model"

    def base(self) -> None:
        """A model that can see and name movements; seed 0 throughout, since all seeds of a demo start from it."""
        if self.model.exists():
            print(f"base model: {self.model} (kept from an earlier run)")
            return
        b = self.budget
        faces = {"data.text": "caption", "data.train_faces": b.captions, "data.batch_size": 32, "data.val_faces": 1}
        unmeasured = {"trainer.limit_val_batches": 0}
        tower = {"model": "fea.pretrain.TowerModule", "trainer.max_steps": b.tower_steps}
        self._fit("base/tower", "sft", {**tower, **_WHOLE_MODEL, **faces, **unmeasured}, seed=0)
        captions = {"model.init_from": self.out / "base" / "tower", "trainer.max_steps": b.caption_steps}
        self._fit("base/captions", "sft", {**captions, **_WHOLE_MODEL, **faces, **unmeasured}, seed=0)
        unfinished = self.model.with_suffix(".part")
        load_policy(str(self.out / "base" / "captions"), "cpu")[0].save(unfinished)
        unfinished.rename(self.model)

    def sft(self, name: str, text: str = "annotator", after: str | None = None, share: float = 1.0) -> None:
        """Stage 1, for a share of its usual steps."""
        steps = round(self.budget.sft_steps * share)
        settings = {
            "data.text": text,
            "data.train_faces": self.budget.analyses,
            "model.optimization.lr": "1e-3",
            "trainer.max_steps": steps,
            "trainer.val_check_interval": max(1, steps // 4),
        }
        self._fit(name, "sft", self._start(after) | settings, self.seed)

    def grpo(self, name: str, after: str) -> None:
        """Stage 2."""
        settings = {
            "data.text": "none",
            "data.train_faces": 16 * self.budget.rollouts,
            "model.optimization.lr": "3e-4",
            "model.optimization.warmup": max(1, self.budget.rollouts // 20),
            "model.optimization.decay": "linear",
            "model.beta": 0,
            "model.advantage": "normalise_then_sum",
            "model.seed": self.seed,
            "trainer.max_steps": self.budget.rollouts,
            "trainer.val_check_interval": max(1, self.budget.rollouts // 4),
        }
        self._fit(name, "grpo", self._start(after) | settings, self.seed)

    def _start(self, after: str | None) -> dict[str, object]:
        start: dict[str, object] = {"model.policy.base": self.model, "data.val_faces": self.budget.validation}
        return start if after is None else {**start, "model.init_from": self.out / after}

    def _fit(self, name: str, config: str, settings: dict[str, object], seed: int) -> None:
        """Runs `fea fit` and prints it; a run of the same name is replaced."""
        everywhere = {
            "trainer.logger.init_args.save_dir": self.out,
            "trainer.logger.init_args.name": name,
            "data.folder": self.out / "faces",
            "data.seed": seed,
            "seed_everything": seed,
        }
        arguments = ["fit", "--config", _config(config), "--config", _config("demo")]
        arguments += [word for key, value in (settings | everywhere).items() for word in (f"--{key}", str(value))]
        self.commands.append(shlex.join(["fea", *arguments]))
        print(f"\n{self.commands[-1]}\n", flush=True)
        _clear(self.out / name)
        start = time.perf_counter()
        run(arguments)
        self.seconds[name] = time.perf_counter() - start
        print(f"{name}: {self.seconds[name]:.0f} s", flush=True)


def _config(name: str) -> str:
    """Path of a shipped config, relative to the working directory if it lies in it."""
    path = Path(str(files("fea") / "configs" / f"{name}.yaml")).resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _clear(run_folder: Path) -> None:
    """Removes what an earlier fit of the same name left, and nothing else."""
    shutil.rmtree(run_folder / "checkpoints", ignore_errors=True)
    for events in run_folder.glob("events.out.tfevents.*"):
        events.unlink()
