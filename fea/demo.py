"""`fea demo`: the whole method on a laptop, from drawn faces to a report.

    faces -> base -> stage 1 (SFT) -> stage 2 (GRPO) -> stage 3 (synthesis) -> stage 1 ...
                                                -> a table of all stages on the same held-out faces

Every stage is a `fea fit` that could be typed, and is printed; the rounds are those of `fea iterate`. The
base stands in for pretraining: a vision tower that has learned to tell sixteen movements apart, and a language model that names
them in plain words. It has met no emotion, no code of an Action Unit and no answer block. It is made once and kept.
"""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from fea.drawn.module import RenderedFaces
from fea.errors import FEAError
from fea.iterate import Loop, Stage
from fea.model.checkpoints import RESULT, load_policy
from fea.scoreboard import Entry, annotator_entry, answered, faces_of, write_board
from fea.system.files import write_atomically
from fea.training.fits import Stages


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
# Of each of several rounds: less, so that a second one can show a gain.
LOOP = FULL._replace(analyses=150, sft_steps=240, rollouts=120)
QUICK = Budget(640, 40, 30, 150, 60, 16, 20, 60)


def demo(
    out: Path = Path("runs/demo"), seed: int = 0, rounds: int = 1, quick: bool = False, controls: bool = False
) -> int:
    """Teaches a tiny model to read drawn faces: all stages, a table of their scores, and `report.html`.

    Args:
        out: folder of runs, faces and report; the base model in it is made once and kept. A demo that was stopped goes on.
        seed: of the training faces, their order and the sampling; the base and the held-out faces stay the same.
        rounds: of SFT, GRPO and synthesis; with more than one, each has fewer analyses and fewer rollouts.
        quick: everything in little, to see that it runs.
        controls: also what the gain has to be compared with: SFT continued for as long as all later stages take, SFT on as many
            analyses of the annotator as the last SFT has seen, SFT on true analyses, and the annotator.

    Returns:
        0.

    Raises:
        FEAError: rounds is less than 1, or a stage failed, which has said why.
    """
    if rounds < 1:
        raise FEAError(f"rounds: {rounds}; give at least 1")
    name = f"seed-{seed}" if rounds == 1 else f"loop-{seed}"
    stages = Demo(out / "quick", name, seed, QUICK) if quick else Demo(out, name, seed, FULL if rounds == 1 else LOOP)
    stages.base()
    runs = [run for number in range(1, rounds + 1) for run in stages.loop.round(number)]
    write_atomically(stages.out / RESULT, f"{stages.loop.out.name}/{runs[-1]}\n".encode())
    own = stages.loop.out.name
    named = {"base": "base/captions", **{_title(run): f"{own}/{run}" for run in runs}}
    if controls:
        named |= stages.controls(runs)

    faces = faces_of(RenderedFaces(str(stages.out / "faces"), test_faces=stages.budget.held_out).draw("test"))
    entries = [Entry(title, *answered(stages.out / run, faces)) for title, run in named.items()]
    entries += [annotator_entry(faces)] if controls else []
    write_board(stages.loop.out, faces, entries, runs, stages.loop.commands)
    return 0


def _title(run: str) -> str:
    stage, _, number = run.partition("-")
    return f"{'SFT' if stage == 'sft' else '+ GRPO'}, round {number}"


class Demo:
    """The fits of a demo, and where they lie: base and faces are shared, all other runs belong to a seed.

    Args:
        out: folder of everything.
        name: of the folder of the runs in it.
        seed: of faces, order and sampling.
        budget: how much of everything.
    """

    def __init__(self, out: Path, name: str, seed: int, budget: Budget):
        self.out, self.seed, self.budget = out, seed, budget
        self.loop = Loop(out / name, self._sft(), self._grpo())

    @property
    def model(self) -> Path:
        """Folder of the base model."""
        return self.out / "base" / "model"

    def base(self) -> None:
        """A model that can see and name movements; seed 0 throughout, since all seeds of a demo start from it."""
        if self.model.exists():
            print(f"base model: {self.model} (kept from an earlier run)")
            return
        b, stages = self.budget, Stages(self.out)
        faces = {"data.text": "caption", "data.train_faces": b.captions, "data.batch_size": 32, "data.val_faces": 1}
        all_weights = {
            "model.policy.train_vision": True, "model.optimization.lr": 1e-3, "model.optimization.warmup": 50,
        }  # fmt: skip
        common = {**all_weights, **faces, "trainer.limit_val_batches": 0, "data.folder": self.out / "faces"}
        tower = {"model": "fea.pretrain.TowerModule", "trainer.max_steps": b.tower_steps}
        stages.fit("base/tower", _configs("sft"), {**tower, **common})
        captions = {"model.init_from": self.out / "base" / "tower", "trainer.max_steps": b.caption_steps}
        stages.fit("base/captions", _configs("sft"), {**captions, **common})
        unfinished = self.model.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        load_policy(str(self.out / "base" / "captions"), "cpu")[0].save(unfinished)
        unfinished.rename(self.model)
        self.loop.commands += stages.commands

    def _sft(self) -> Stage:
        """Stage 1; from the second round on it starts from a policy that has learned something, and is gentler."""
        settings = {
            **self._common(),
            "data.text": "annotator",
            "data.train_faces": self.budget.analyses,
            **_sft_steps(self.budget.sft_steps),
            "model.optimization.lr": 1e-3,
        }
        return Stage(_files("sft"), settings, {"model.optimization.lr": 3e-4, "model.optimization.decay": "linear"})

    def _grpo(self) -> Stage:
        """Stage 2, with stage 3 at its end."""
        rollouts = self.budget.rollouts
        settings = {
            **self._common(),
            "data.text": "none",
            "data.train_faces": 16 * rollouts,
            "model.optimization.lr": 3e-4,
            "model.optimization.warmup": max(1, rollouts // 20),
            "model.optimization.decay": "linear",
            "model.beta": 0,
            "model.advantage": "normalise_then_sum",
            "model.seed": self.seed,
            "trainer.max_steps": rollouts,
            "trainer.val_check_interval": max(1, rollouts // 4),
        }
        return Stage(_files("grpo"), settings)

    def _common(self) -> dict[str, Any]:
        return {
            "model.policy.base": self.model,
            "data.val_faces": self.budget.validation,
            "data.test_faces": self.budget.held_out,
            "data.folder": self.out / "faces",
            "data.seed": self.seed,
            "seed_everything": self.seed,
        }

    def controls(self, runs: list[str]) -> dict[str, str]:
        """Fits that the gain has to be compared with, by their title in the table.

        Args:
            runs: of the loop.
        """
        sft, seconds = self.loop.stages["sft"].settings, self.loop.seconds
        later = sum(seconds[run] for run in runs[1:]) / seconds[runs[0]]
        longer: dict[str, Any] = {
            "model.init_from": self.loop.out / runs[0],
            **_sft_steps(round(self.budget.sft_steps * later)),
        }
        fits: dict[str, tuple[str, dict[str, Any]]] = {
            "control: SFT continued": ("sft-continued", longer),
            "control: SFT on true analyses": ("sft-true", {"data.text": "analysis"}),
        }
        accepted = [source for run in runs[1:-2:2] for source in self.loop.accepted(run)]
        lines = sum(len(Path(source["file"]).read_bytes().splitlines()) for source in accepted)
        if len(runs) > 2:
            more = {
                "data.train_faces": self.budget.analyses + lines,
                **_sft_steps(len(runs) // 2 * self.budget.sft_steps),
            }
            fits["control: SFT on as many analyses"] = ("sft-more", more)
        for name, changes in fits.values():
            self.loop.fit(name, _configs("sft"), sft | changes)
        return {title: f"{self.loop.out.name}/{name}" for title, (name, _) in fits.items()}


def _sft_steps(steps: int) -> dict[str, int]:
    return {"trainer.max_steps": steps, "trainer.val_check_interval": max(1, steps // 4)}


def _files(stage: str) -> list[str]:
    """Paths of the shipped configs of a stage, relative to the working directory if they lie in it."""
    found = [Path(str(files("fea") / "configs" / f"{name}.yaml")).resolve() for name in (stage, "demo")]
    return [str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path) for path in found]


def _configs(stage: str) -> list[str]:
    return [word for file in _files(stage) for word in ("--config", file)]
