"""Samples to look at in the log: the picture, what the policy wrote about it, and what that earned."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from fea.images.opening import load_image
from fea.rollouts.loader import RolloutCallback
from fea.rollouts.rollout import Rollout
from fea.training.logs import show_pictures, show_table, silent
from fea.training.module import FEAModule

_SIDE = 512  # pixels of the longer side of a picture: enough to judge a face, and small in a log
_NAME = "samples"  # in the log


class SampleTable(RolloutCallback):
    """Shows some completions of a rollout in the log every now and then, whichever it is: see `fea.training.logs`.

    Args:
        every: rollouts between two tables.
        faces: faces in a table, each with its best and its worst completion.
    """

    def __init__(self, every: int = 20, faces: int = 3):
        self.every, self.faces = every, faces
        self.seen = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Says which loggers will show nothing."""
        if stage == "fit" and not cast(Any, trainer).fast_dev_run and (mute := silent(trainer.loggers)):
            rank_zero_info(f"SampleTable: {', '.join(mute)} will show no samples; TensorBoardLogger and CSVLogger do")

    def on_rollout(
        self, trainer: Trainer, module: LightningModule, rollout: Rollout, rewards: dict[str, Tensor]
    ) -> None:
        """Writes the table."""
        self.seen += 1
        if (self.seen - 1) % self.every or not trainer.is_global_zero or not trainer.loggers:
            return
        limit = cast(FEAModule, module).policy.encoder.max_image_pixels
        pictures = []
        for example in (prompt.example for prompt in rollout.prompts[: self.faces]):
            picture = load_image(example.image, example.place, example.flipped, limit, _SIDE**2)
            picture.thumbnail((_SIDE, _SIDE))
            pictures.append(picture)
        show_pictures(trainer.loggers, _NAME, pictures, module.global_step)
        columns = ["face", "id", "labels", "completion", *rewards]
        show_table(trainer.loggers, _NAME, columns, _rows(rollout, rewards, self.faces), module.global_step)

    def state_dict(self) -> dict[str, int]:
        """Rollouts seen."""
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on counting."""
        self.seen = state["seen"]


def _rows(rollout: Rollout, rewards: dict[str, Tensor], faces: int) -> list[list[str]]:
    rows = []
    for face, prompt in enumerate(rollout.prompts[:faces]):
        example = prompt.example
        labels = f"{', '.join(example.labels)} {' '.join(sorted(example.aus or ()))}"
        total = torch.stack([scores[face].nan_to_num() for scores in rewards.values()]).sum(dim=0)
        for best in dict.fromkeys((int(total.argmax()), int(total.argmin()))):
            text = rollout.completions.texts[face * rollout.group + best]
            scores = [f"{float(values[face, best]):.2f}" for values in rewards.values()]
            rows.append([str(face), str(example.id), labels, text, *scores])
    return rows
