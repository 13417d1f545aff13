"""What a face weighs in the loss: the rarer its labels, the more, so that those of few faces are not outvoted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fea.data.mixture import Balance, Examples
from fea.data.prompt import Prompt


class Rarity:
    """The sampling weights of `Examples.balance` as weights in the loss: the faces are drawn as ever, but count unequally.

    A rare face is seen no more often than before, so that nothing is learned by heart; what it teaches is larger, and noisier.
    The mean is 1 over all draws. Over each batch it is not: a batch without rare faces would count them as if they were there.

        faces            AU12     AU12     AU12, AU4     -          drawn alike
        balance          1/3      1/3      2/3           4/9        mean 4/9
        weight           3/4      3/4      3/2           1          mean 1

    Args:
        examples: those that are drawn from.
        drawn: how often each is drawn; None for all alike.
        by: the labels; None: all faces weigh 1.
        power: of the number of examples of a label, as in `Examples.balance`.
    """

    def __init__(self, examples: Examples, drawn: Tensor | None, by: Balance | None, power: float):
        self.by_place: dict[str, float] | None = None
        if by is not None:
            weights = examples.balance(by, power)
            mean = np.average(weights, weights=None if drawn is None else drawn.numpy())
            self.by_place = dict(zip(examples.places(), (weights / mean).tolist(), strict=True))

    def __call__(self, prompts: Sequence[Prompt]) -> Tensor:
        """(B,) weights of the faces of prompts."""
        if self.by_place is None:
            return torch.ones(len(prompts))
        return torch.tensor([self.by_place[prompt.example.place] for prompt in prompts])
