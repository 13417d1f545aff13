"""What happens to optimizer steps whose gradient is not finite: they are left out, counted, and too many end the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.system.files import whole


class FiniteGuard:
    """Watches the gradients of a fit.

    Args:
        patience: steps in a row that may be left out.
    """

    def __init__(self, patience: int):
        self.patience = patience
        self.skipped = 0
        self.in_a_row = 0
        self.batches: list[Any] = []  # of the coming step

    def passes(self, norm: Tensor, step: int, folder: Path) -> bool:
        """Whether a step may be taken.

        Args:
            norm: of its gradient, the same on all processes.
            step: its number.
            folder: where its batches are written if it is one too many.

        Raises:
            FEAError: `patience` steps in a row had to be left out.
        """
        batches, self.batches = self.batches, []  # those of the next step begin here, whatever becomes of this one
        if bool(norm.isfinite()):
            self.in_a_row = 0
            return True
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        rank_zero_warn(f"step {step}: the gradient is not finite; the step is left out")
        if self.in_a_row >= self.patience:
            file = folder / f"nonfinite-step{step}.pt"
            with whole(file) as stream:
                torch.save([_plain(batch) for batch in batches], stream)
            raise FEAError(
                f"{self.in_a_row} steps in a row had a gradient that is not finite; the batches of the last are in '{file}'; "
                "lower model.optimization.lr, or go on from an earlier checkpoint"
            )
        return False


def _plain(batch: Any) -> dict[str, Any]:
    """A batch, of prompts or a pack with its fields, as tensors and plain values: a file of them loads without this package."""
    prompts: Sequence[Prompt] = batch if isinstance(batch, list) else batch.prompts
    fields = {} if isinstance(batch, list) else batch._asdict()
    tensors = {name: value.cpu() for name, value in fields.items() if isinstance(value, Tensor)}
    return {
        "examples": [(prompt.example.id, prompt.example.place) for prompt in prompts],
        "prompts": [prompt.ids.cpu() for prompt in prompts],
        "targets": [prompt.target.cpu() for prompt in prompts],
        **tensors,
    }
