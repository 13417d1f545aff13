"""Answers of `fea predict` as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from fea.analysis.tables import result_of
from fea.analysis.writing import check_place
from fea.system.lines import write_jsonl


class AnswerWriter(BasePredictionWriter):
    """Writes the answers to the files under `data.predict`, one JSON object an image, with the example's id.

    Args:
        file: where; by default `answers.jsonl` in the folder of the run.
    """

    def __init__(self, file: str | None = None):
        super().__init__("epoch")
        self.file = file

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Finds out before the work whether the file can be written.

        Raises:
            FEAError: it holds something else.
            OSError: there is no room, or no permission.
        """
        if stage == "predict":
            place = self._place(trainer)  # on all processes, which tell each other where the run lies
            if trainer.is_global_zero:
                check_place(place)

    def write_on_epoch_end(
        self, trainer: Trainer, module: LightningModule, predictions: Sequence[Any], batch_indices: Sequence[Any]
    ) -> None:
        """Gathers the answers of all processes, one after the other, and writes them."""
        rows = [
            {"id": example.id, **result_of(example.image, answer, example.emotions).row}
            for batch in predictions
            for example, answer in batch
        ]
        if trainer.world_size > 1:
            parts: list[list[dict[str, Any]]] = [[] for _ in range(trainer.world_size)]
            dist.all_gather_object(parts, rows)
            rows = [row for part in parts for row in part]
        file = self._place(trainer)
        if trainer.is_global_zero:
            write_jsonl(file, rows)
            print(f"answers: {file}")

    def _place(self, trainer: Trainer) -> Path:
        return Path(self.file or Path(trainer.log_dir or ".") / "answers.jsonl")
