"""Analyses that a GRPO fit goes on learning from, beside its own samples."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from fea.data.loader import Draw, Encoded
from fea.data.mixture import Examples, drawn_forms
from fea.data.prompt import Prompt
from fea.data.source import OnBad
from fea.errors import FEAError
from fea.model.encoding import Encoder
from fea.prompts.answer import Form
from fea.system.processes import count, rank

# More packs than a run has on all its processes, so that no two seeds ever share their draws.
_DRAWS = 1_000_003


class Replay:
    """Draws analyses for each pack; which ones is a function of the seed and of the pack's place in the run.

    Args:
        examples: with an analysis; there may be none.
        weights: how often each is drawn; None for all alike.
        encoder: turns them into prompts.
        size: analyses for a pack.
        seed: of the draws.
        on_bad: "raise" at an image that cannot be read, or "skip" it and take another.
        forms: of answers that are asked for, in these proportions; None asks for that of the policy.
    """

    def __init__(
        self,
        examples: Examples,
        weights: NDArray[np.float64] | None,
        encoder: Encoder,
        size: int,
        seed: int,
        on_bad: OnBad,
        forms: Mapping[Form, float] | None = None,
    ):
        self.examples, self.size, self.seed, self.forms = examples, size, seed, forms
        self._encoded = Encoded(examples, partial(encoder, with_target=True), substitute=on_bad == "skip")
        self._weights = torch.ones(len(examples)) if weights is None else torch.from_numpy(weights)

    def __call__(self, pack: int) -> list[Prompt]:
        """The analyses of a pack of this process, by the number of the pack in the run."""
        if not len(self.examples):
            return []
        # Packs of all processes are numbered through: 0 1 | 2 3 | 4 5 with two of them.
        chance = torch.Generator().manual_seed(self.seed * _DRAWS + pack * count() + rank())
        drawn = torch.multinomial(self._weights, self.size, replacement=True, generator=chance)
        forms = drawn_forms(self.forms, self.size, chance)
        return [self._prompt(Draw(number, False, form)) for number, form in zip(drawn.tolist(), forms, strict=True)]

    def _prompt(self, draw: Draw) -> Prompt:
        prompts, reasons = self._encoded[draw]
        if not prompts:
            raise FEAError(reasons[-1])
        return prompts[0]
