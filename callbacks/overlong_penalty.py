"""A soft limit on the length of completions."""

from __future__ import annotations

from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from fea.errors import FEAError
from fea.rewards import Region, RewardCallback
from fea.rollouts.rollout import Rollout


class OverlongPenalty(RewardCallback):
    """0 for a completion of ordinary length, down to -1 for one that is cut off (soft overlong punishment of DAPO).

    A limit that is hit without a warning punishes good thinking that happens to be long like thinking that goes nowhere, and
    says nothing to what just fits. With L_max = `model.generation.max_tokens` and L = (1 - margin) L_max, t tokens earn

        0  up to L;      (L - t) / (L_max - L)  from there;      -1  at L_max and without an end

    Source: arXiv 2503.14476, section 3.4, where the margin is 4,096 of 20,480 tokens.

    Args:
        weight: factor in the total reward.
        name: name in the logs; by default the name of the class.
        region: the tokens that it credits.
        margin: share of the limit within which the penalty grows.

    Raises:
        FEAError: the margin is not above 0, or more than the limit.
    """

    def __init__(self, weight: float = 1.0, name: str | None = None, region: Region = "all", margin: float = 0.2):
        super().__init__(weight, name, region)
        if not 0 < margin <= 1:
            raise FEAError(f"OverlongPenalty.margin: {margin}; give a share of the limit above 0, and at most 1")
        self.margin = margin
        self.limit: int | None = None  # tokens

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remembers the limit."""
        super().setup(trainer, pl_module, stage)
        self.limit = cast(Any, pl_module).generation.max_tokens

    def rewards(self, rollout: Rollout) -> Tensor:
        """(B, G), from 0 down to -1.

        Raises:
            FEAError: it is asked outside of a trainer, whose module sets the limit.
        """
        if self.limit is None:
            raise FEAError(
                f"reward '{self.name}': the limit is that of a module; list it under trainer.callbacks, or call its "
                "setup(trainer, module, 'fit') first"
            )
        lengths_N = rollout.completions.mask.sum(dim=1)
        scores_N = ((1 - self.margin) * self.limit - lengths_N) / (self.margin * self.limit)
        return scores_N.clamp(-1, 0).masked_fill(rollout.completions.truncated, -1.0).view(-1, rollout.group)
