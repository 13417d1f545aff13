"""Analyses that a GRPO fit goes on learning from, beside its own samples."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fea.data.encoding import Encoder, Prompt
from fea.data.examples import Examples
from fea.processes import count, rank


class Replay:
    """Draws analyses for each pack; which ones is a function of the seed and of the pack's place in the run.

    Args:
        examples: with an analysis; there may be none.
        weights: how often each is drawn; None for all alike.
        encoder: turns them into prompts.
        size: analyses for a pack.
        seed: of the draws.
    """

    def __init__(self, examples: Examples, weights: NDArray[np.float64] | None, encoder: Encoder, size: int, seed: int):
        self.examples, self.encoder, self.size, self.seed = examples, encoder, size, seed
        self._weights = torch.ones(len(examples)) if weights is None else torch.from_numpy(weights)

    def __call__(self, pack: int) -> list[Prompt]:
        """The analyses of a pack of this process, by the number of the pack in the run."""
        if not len(self.examples):
            return []
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + pack * count() + rank())
        drawn = torch.multinomial(self._weights, self.size, replacement=True, generator=chance)
        return [self.encoder(self.examples[number], with_target=True) for number in drawn.tolist()]
