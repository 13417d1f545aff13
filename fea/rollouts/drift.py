"""How far apart the policies of an update are: the one that sampled, the same as training computes it, and the one now."""

from __future__ import annotations

import torch
from torch import Tensor

from fea.losses import importance_ratio, kl_k3
from fea.rollouts.buffer import Pack
from fea.system.processes import gathered

# Ratios between which sampler and trainer count as the same policy: those that PPO's usual clip of 0.2 leaves alone.
_LOW, _HIGH = 0.8, 1.2
_MEANS = ("sampling_kl", "sampling_outside", "approx_kl")


class Drift:
    """What the packs of an optimizer step have to report together, on all processes.

    - `sampling_kl`: KL(sampler || trainer), of the same weights by two ways to compute them. By k3, as the tokens are the
      sampler's: never negative, so that rounding cannot hide it, and steadier than the mean of the log-ratios.
    - `sampling_outside`: share of the tokens whose ratio trainer / sampler is outside 0.8 to 1.2.
    - `sampling_ratio_max`: the largest such ratio; beyond `objective.cap` it is truncated.
    - `approx_kl`: KL(policy before the rollout's updates || policy now), by k3; only if there are several of these updates.
    """

    def __init__(self) -> None:
        self.packs: list[Tensor] = []  # of each: tokens, sums over them, largest ratio

    def add(self, logps: Tensor, pack: Pack) -> None:
        """Takes in a pack of this process; one that stands in for none adds nothing.

        Args:
            logps: (N, T) under the policy now.
            pack: with what was seen while sampling.
        """
        old_logps = pack.old(logps)
        counted_NT = pack.mask.bool() & pack.weights.any()
        ratio_NT = importance_ratio(old_logps, pack.sampled_logps)
        outside_NT = ((ratio_NT < _LOW) | (ratio_NT > _HIGH)).float()
        values = kl_k3(pack.sampled_logps, old_logps), outside_NT, kl_k3(old_logps, logps.detach())
        sums = [torch.where(counted_NT, value_NT, 0.0).sum() for value_NT in values]
        largest = torch.where(counted_NT, ratio_NT, 0.0).amax()
        self.packs.append(torch.stack([counted_NT.sum(), *sums, largest]))

    def told(self, several: bool) -> dict[str, float]:
        """By name in the logs, since the last call; the same on all processes, each of which calls this.

        Args:
            several: whether the rollout is used for several updates.

        Returns:
            Nothing if no process had a token in the update.
        """
        parts = gathered([pack.tolist() for pack in self.packs])
        self.packs.clear()
        tokens, *sums, largest = torch.tensor([row for part in parts for row in part], dtype=torch.float64).unbind(
            dim=1
        )
        if not tokens.any():
            return {}
        means = [float(added.sum() / tokens.sum()) for added in sums]
        numbers = dict(zip(_MEANS, means, strict=True)) | {"sampling_ratio_max": float(largest.amax())}
        return {f"train/{name}": value for name, value in numbers.items() if several or name != "approx_kl"}
