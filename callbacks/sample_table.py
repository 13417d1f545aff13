"""Samples to look at in TensorBoard: the picture, what the policy wrote about it, and what that earned."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from fea.images.opening import load_image
from fea.rollouts.loader import RolloutCallback
from fea.rollouts.rollout import Rollout
from fea.training.module import FEAModule

_SIDE = 512  # pixels of the longer side of a picture: enough to judge a face, and small in a log


class SampleTable(RolloutCallback):
    """Writes some completions of a rollout to TensorBoard every now and then.

    Args:
        every: rollouts between two tables.
        faces: faces in a table, each with its best and its worst completion.
    """

    def __init__(self, every: int = 20, faces: int = 3):
        self.every, self.faces = every, faces
        self.seen = 0

    def on_rollout(
        self, trainer: Trainer, module: LightningModule, rollout: Rollout, rewards: dict[str, Tensor]
    ) -> None:
        """Writes the table."""
        self.seen += 1
        if (
            (self.seen - 1) % self.every
            or not trainer.is_global_zero
            or not isinstance(trainer.logger, TensorBoardLogger)
        ):
            return
        board, step = trainer.logger.experiment, module.global_step
        for face, prompt in enumerate(rollout.prompts[: self.faces]):
            example = prompt.example
            limit = cast(FEAModule, module).policy.encoder.max_image_pixels
            picture = load_image(example.image, example.place, example.flipped, limit, _SIDE**2)
            picture.thumbnail((_SIDE, _SIDE))
            board.add_image(f"samples/{face}", np.asarray(picture), step, dataformats="HWC")
        board.add_text("samples", _table(rollout, rewards, self.faces), step)

    def state_dict(self) -> dict[str, int]:
        """Rollouts seen."""
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on counting."""
        self.seen = state["seen"]


def _table(rollout: Rollout, rewards: dict[str, Tensor], faces: int) -> str:
    names = list(rewards)
    lines = [f"| face | labels | completion | {' | '.join(names)} |", f"|---|---|---|{'---|' * len(names)}"]
    for face, prompt in enumerate(rollout.prompts[:faces]):
        example = prompt.example
        labels = f"{', '.join(example.labels)} {' '.join(sorted(example.aus or ()))}"
        total = torch.stack([scores[face].nan_to_num() for scores in rewards.values()]).sum(dim=0)
        for best in dict.fromkeys((int(total.argmax()), int(total.argmin()))):
            text = rollout.completions.texts[face * rollout.group + best].replace("|", "\\|").replace("<", "&lt;")
            scores = " | ".join(f"{float(rewards[name][face, best]):.2f}" for name in names)
            lines.append(f"| {face} | {labels} | {text} | {scores} |".replace("\n", " "))
    return "\n".join(lines)
