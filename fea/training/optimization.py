"""The optimizer and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR

from fea.errors import FEAError
from fea.training.loop import clippable

# Gradients are averaged over about 10 steps, their squares over 20. torch's own 0.999 looks back on 1,000 steps, more than many
# a fit has: one burst of gradients would keep all later steps small.
_BETAS = (0.9, 0.95)


@dataclass
class Optimization:
    """AdamW with a warm-up.

    Args:
        lr: peak learning rate; 1e-5 to 5e-5 suits an adapter.
        weight_decay: decoupled weight decay.
        warmup: optimizer steps in which the rate rises from 0.
        decay: what follows: "constant", "linear" to 0 at the last step, or "cosine".
        eight_bit: keep the optimizer's moments in 8 bits (Dettmers et al., arXiv 2110.02861); on a full GPU they move to host
            memory. Not for sharded weights.
        patience: steps in a row whose gradient is not finite, after which training ends; fewer are left out and counted.
    """

    lr: float = 2e-5
    weight_decay: float = 0.0
    warmup: int = 10
    decay: Literal["constant", "linear", "cosine"] = "constant"
    eight_bit: bool = False
    patience: int = 5

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay", "warmup"):
            if getattr(self, name) < 0:
                raise FEAError(f"model.optimization.{name}: {getattr(self, name)}; give a number that is not negative")
        if self.patience < 1:
            raise FEAError(f"model.optimization.patience: {self.patience}; at least 1 step has to fail")

    @property
    def decays(self) -> bool:
        """Whether the rate falls, so that the last step has to be known."""
        return self.decay != "constant"

    def optimizer(
        self, weights: Sequence[nn.Parameter], apart: Sequence[nn.Parameter] = (), lr: float | None = None
    ) -> torch.optim.Optimizer:
        """AdamW over some weights, with its moments in 8 bits if asked for.

        Args:
            weights: all of them.
            apart: those that are a group of their own; the other group then comes first.
            lr: peak learning rate of these; None for the same as all others.

        Raises:
            FEAError: 8 bits for sharded weights.
        """
        groups = self._groups(weights, apart, lr) if apart else list(weights)
        if not self.eight_bit:
            return clippable(torch.optim.AdamW(groups, self.lr, _BETAS, weight_decay=self.weight_decay, fused=True))
        if any(isinstance(weight, DTensor) for weight in weights):
            raise FEAError("model.optimization.eight_bit: sharded weights need the plain optimizer; set it to false")
        from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit

        kind = PagedAdamW8bit if torch.cuda.is_available() else AdamW8bit
        chosen: torch.optim.Optimizer = kind(groups, self.lr, _BETAS, weight_decay=self.weight_decay)
        return chosen

    def _groups(
        self, weights: Sequence[nn.Parameter], apart: Sequence[nn.Parameter], lr: float | None
    ) -> list[dict[str, Any]]:
        """Two groups, under the names that their learning rates have in the logs."""
        other = set(apart)
        rest = [weight for weight in weights if weight not in other]
        own = {"params": list(apart), "lr": self.lr if lr is None else lr, "name": "vision"}
        return [{"params": rest, "name": "language"}, own]

    def schedule(self, optimizer: torch.optim.Optimizer, steps: float) -> LambdaLR:
        """The rate over `steps` optimizer steps, which may be infinite where it does not fall."""

        def factor(step: int) -> float:
            if step < self.warmup:
                return (step + 1) / self.warmup  # not from 0, at which the first step would change nothing
            if self.decay == "constant":
                return 1.0
            left = max(0.0, 1 - (step - self.warmup) / max(1.0, steps - self.warmup))  # from 1 down to 0
            return left if self.decay == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)

        return LambdaLR(optimizer, factor)
