"""What people write down, in configs, in scripts and in commands, does not change unnoticed.

A change that is meant is pinned with it:

    python tests/house/test_api.py
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fea.callbacks
from fea.cli import COMMANDS
from fea.data.module import FEADataModule
from fea.data.source import Source
from fea.demo.tower import TowerModule
from fea.drawn.module import RenderedFaces
from fea.grpo import GRPOModule
from fea.iterate import Stage
from fea.model.config import LoRA, PolicyConfig, TinySize, VisionLoRA
from fea.model.fsdp import FSDP2Strategy
from fea.model.sampling import Generation
from fea.preference import EMPOModule
from fea.rewards import RewardCallback
from fea.sft import SFTModule
from fea.synthesis.recipe import Checks, Recipe
from fea.training.optimization import Optimization

PINNED = Path(__file__).with_name("api_surface.txt")
CLASSES = (
    *(
        SFTModule,
        GRPOModule,
        EMPOModule,
        TowerModule,
        FEADataModule,
        RenderedFaces,
        Source,
        PolicyConfig,
        LoRA,
        VisionLoRA,
        TinySize,
        Generation,
    ),
    *(Optimization, Recipe, Checks, Stage, FSDP2Strategy, RewardCallback),
)


def settings(called: Callable[..., Any]) -> str:
    return ", ".join(inspect.signature(called).parameters)


def surface() -> list[str]:
    """Class paths with their settings, and commands with their options, a line each."""
    callbacks = [getattr(fea.callbacks, name) for name in fea.callbacks.__all__]
    commands = {name: verb.load() for name, verb in COMMANDS.items()}
    return [
        *(f"{kind.__module__}.{kind.__name__}({settings(kind)})" for kind in CLASSES),
        *(f"fea.callbacks.{kind.__name__}({settings(kind)})" for kind in callbacks),
        *(f"fea {name}: {settings(function)}" for name, function in commands.items()),
    ]


def test_the_public_surface_is_the_one_that_was_pinned() -> None:
    assert surface() == PINNED.read_text().splitlines()


if __name__ == "__main__":
    PINNED.write_text("\n".join(surface()) + "\n")
