"""The stages of a demo: how much of everything, with which settings, and what the gain is compared with.

Each is a `fea fit` with the shipped configs and the overlay `demo.yaml`, so that what the demo does can be typed.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from fea.drawn.module import RenderedFaces
from fea.drawn.world import WorldSettings
from fea.errors import FEAError
from fea.iterate import Loop, Stage
from fea.model.checkpoints import load_policy
from fea.model.families.family import Family
from fea.model.families.known import FAMILIES, TINY, of_type
from fea.training.fits import Fits


class Budget(NamedTuple):
    """How much of everything a demo does.

    Attributes:
        captions: faces with captions, for the base.
        tower_steps: optimizer steps for the base's vision tower.
        caption_steps: optimizer steps for its captions.
        analyses: faces with analyses, for stage 1.
        sft_steps: optimizer steps of stage 1.
        labels: faces with labels, for stage 2.
        rollouts: optimizer steps of stage 2, each with a rollout of 16 faces.
        validation: faces for the choice of the best checkpoint.
        held_out: faces that all stages are judged on.
    """

    captions: int
    tower_steps: int
    caption_steps: int
    analyses: int
    sft_steps: int
    labels: int
    rollouts: int
    validation: int
    held_out: int


# With labels for one epoch.
FULL = Budget(6000, 500, 750, 300, 320, 16 * 200, 200, 200, 1500)

# Of each of several rounds: less, so that a second one can show a gain.
LOOP = FULL._replace(analyses=150, sft_steps=240, labels=16 * 120, rollouts=120)
QUICK = Budget(640, 40, 30, 150, 60, 16 * 16, 16, 20, 60)
# 800 faces are eight of each person; of the labels that are the rarer ones one in ten errs.
SKEWED = WorldSettings(prior="skewed", people=100, noise=0.1)
# Peak rates of stage 2. At the first one a rare class is gone for a dozen rollouts now and then, before it comes back.
_RATE, _GENTLE = 3e-4, 2e-4
_VISUAL_TOKENS = 16  # of a face, as `demo.yaml` has them with the family that is meant there


def budget_of(rounds: int, quick: bool, skew: bool) -> Budget:
    """How much a demo does.

    Args:
        rounds: of the loop.
        quick: everything in little.
        skew: with more analyses, of which the rarest emotion would have four among the 300 of `FULL`; stage 2 learns from the
            same faces, for several epochs, as with the few labels that there are for real ones.
    """
    if quick:
        return QUICK
    budget = FULL if rounds == 1 else LOOP
    analyses = budget.analyses * 8 // 3
    more = {"sft_steps": budget.sft_steps * 3 // 2, "validation": budget.validation * 2}
    return budget._replace(analyses=analyses, labels=analyses, **more) if skew else budget


def family_of(name: str) -> Family:
    """The family of a tiny model.

    Raises:
        FEAError: there is none of this name.
    """
    if family := of_type(name):
        return family
    raise FEAError(
        f"family: '{name}' is none that is known here; give one of {', '.join(f.model_type for f in FAMILIES)}"
    )


def title_of(run: str) -> str:
    """The title of a run of the loop: "sft-1" is "SFT, round 1", and "grpo-1" is "+ GRPO, round 1"."""
    stage, _, number = run.partition("-")
    return f"{'SFT' if stage == 'sft' else '+ GRPO'}, round {number}"


class Demo:
    """The fits of a demo, and where they lie: base and faces are shared, all other runs belong to a seed.

    Args:
        out: folder of everything.
        name: of the folder of the runs in it.
        seed: of faces, order and sampling.
        budget: how much of everything.
        world: which faces are drawn, but for the base, which knows no emotions.
        family: of the base.
    """

    def __init__(self, out: Path, name: str, seed: int, budget: Budget, world: WorldSettings, family: Family = TINY):
        self.out, self.seed, self.budget, self.world, self.family = out, seed, budget, world, family
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
        b, stages = self.budget, Fits(self.out)
        faces = {"data.text": "caption", "data.train_faces": b.captions, "data.batch_size": 32, "data.val_faces": 1}
        all_weights = {
            "model.policy.train_vision": True, "model.optimization.lr": 1e-3, "model.optimization.warmup": 50,
        }  # fmt: skip
        common = {
            **all_weights,
            **faces,
            **self._shown(),
            "trainer.limit_val_batches": 0,
            "data.folder": self.out / "faces",
        }
        if self.family is not TINY:
            common["model.policy.tiny.family"] = self.family.model_type
        tower = {"model": "fea.demo.tower.TowerModule", "trainer.max_steps": b.tower_steps}
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
            "data.train_faces": self.budget.labels,
            "model.optimization.lr": _RATE if self.world == WorldSettings() else _GENTLE,
            "model.optimization.warmup": max(1, rollouts // 20),
            "model.optimization.decay": "linear",
            "model.objective.beta": 0,
            "model.seed": self.seed,
            "trainer.max_steps": rollouts,
            "trainer.val_check_interval": max(1, rollouts // 4),
        }
        return Stage(_files("grpo"), settings)

    def _common(self) -> dict[str, Any]:
        return {
            "model.policy.base": self.model,
            **self._shown(),
            "data.val_faces": self.budget.validation,
            "data.test_faces": self.budget.held_out,
            "data.folder": self.out / "faces",
            "data.seed": self.seed,
            **({} if self.world == WorldSettings() else {"data.world": asdict(self.world)}),
            "seed_everything": self.seed,
        }

    def _shown(self) -> dict[str, Any]:
        """How large faces are shown, where that is not as in `demo.yaml`: in as many visual tokens."""
        pixels = _VISUAL_TOKENS * self.family.pixels
        return {} if self.family is TINY else {"model.policy.min_pixels": pixels, "model.policy.max_pixels": pixels}

    def faces(self) -> RenderedFaces:
        """The data module that the held-out faces come from."""
        return RenderedFaces(str(self.out / "faces"), test_faces=self.budget.held_out, world=self.world)

    def controls(self, runs: list[str]) -> dict[str, str]:
        """Fits that the gain has to be compared with, by their title in the table.

        Args:
            runs: of the loop.
        """
        sft, seconds = self.loop.stages["sft"].settings, self.loop.seconds
        later = sum(seconds[run] for run in runs[1:]) / seconds[runs[0]]
        exact = {"data.world": asdict(replace(self.world, noise=0.0))} if self.world.noise else {}
        longer: dict[str, Any] = {
            "model.init_from": self.loop.out / runs[0],
            **_sft_steps(round(self.budget.sft_steps * later)),
        }
        fits: dict[str, tuple[str, dict[str, Any]]] = {
            "control: SFT continued": ("sft-continued", longer),
            "control: SFT on true analyses": ("sft-true", {"data.text": "analysis", **exact}),
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
