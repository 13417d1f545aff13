"""What GRPO maximizes, as settings; the formulas are in `fea.advantages` and `fea.losses`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from fea.advantages import Baseline, Scale
from fea.data.mixture import Balance
from fea.data.shares import check_power
from fea.errors import FEAError
from fea.losses import Normalizer


@dataclass
class Objective:
    """What an update maximizes. The defaults are the paper's, and two bounds that act only where something is far off.

    Dr. GRPO (arXiv 2503.20783) as a whole is `normalizer: dr_grpo` with `scale: none`, and `beta: 0`.

    Args:
        beta: weight of the KL term; 0 needs no reference policy.
        kl: "k3" is the paper's estimate, whose gradient is not that of the KL; "corrected" multiplies it by the ratio to the
            policy that sampled, for an unbiased one (DeepSeek-V3.2, arXiv 2512.02556): for a large `beta`, or many steps a
            rollout.
        entropy: weight of a bonus for the entropy of the distributions that tokens are sampled from, in nats: it keeps a policy
            from becoming certain before it has tried. It is one for uncertainty about every token, layout and tags included;
            0.001 to 0.01 are usual (PPO, arXiv 1707.06347, equation 9). Backward passes then need more memory.
        surrogate: what is made of the ratio of the policy to the one that sampled; they differ with several optimizer steps a
            rollout only. "clip" is PPO's (the paper's): a token whose ratio has left the range in the direction of its
            advantage has no gradient any more. "gspo" clips likewise the geometric mean of the ratios of a completion, which
            is kept or dropped as a whole (arXiv 2507.18071); that mean is close to 1 and needs far narrower ranges, there
            3e-4 for `clip_low` and 4e-4 for `clip_high`: 0.2 clips nothing. "cispo" multiplies the gradient of each token by
            its clipped ratio, so that none is dropped (arXiv 2506.13585, which bounds it above only: `clip_low` 1); it has no
            use for `clip_dual`.
        clip_low: how far the ratio may fall below 1.
        clip_high: how far it may rise above 1; above `clip_low` it lets rare tokens grow (DAPO, arXiv 2503.14476, has 0.28).
        clip_dual: ratio beyond which a token with a negative advantage counts no more (Ye et al., arXiv 1912.09729); it acts
            with several optimizer steps a rollout. null: no bound.
        cap: the policy term of each token is multiplied by the ratio of the policy as training computes it to the one that it
            was sampled from, at most this (truncated importance sampling, as in verl and TRL); where both agree it changes
            nothing. null: they are taken to agree.
        advantage: "sum_then_normalize" compares total rewards (the paper's); "normalize_then_sum" compares each reward by
            itself and credits it to its own region (GDPO, arXiv 2601.05242), for rewards that differ much in spread.
        scale: what rewards less their group's mean are divided by. "group": the group's standard deviation (the paper's);
            "batch": that of the whole rollout, for groups whose rewards hardly differ (Lite PPO, arXiv 2508.08221); "none":
            nothing, so that no prompt is weighed by its difficulty (Dr. GRPO). For rewards of numbers, such as
            `DimensionReward` or `CCCReward`, not "group": it would make a spread of 0.001 as large as one of 1.
        baseline: what a completion is compared with: "mean" is its group's (the paper's); "leave_one_out" that of the others in
            the group, which for rewards that are divided by nothing makes the gradient unbiased, G / (G - 1) times as large
            (RLOO, arXiv 2402.14740). Beside another `scale` it would be that constant and nothing else.
        normalizer: "grpo" averages over each completion (the paper's), "dapo" over tokens, so that a long completion counts
            by its length, "dr_grpo" divides by a constant, so that no length is preferred.
        balance: weigh faces in the loss by how rare their emotions ("emotion"), Action Units ("au") or both are, with a mean
            of 1 over the training draws: `data.balance` without showing few faces again and again. Both at once multiply.
            null: all alike.
        balance_power: how much: 1 in full, where a label of 1 % of the faces weighs as much as one of 50 % as a whole; 0.5
            for the square root of that, which is less noisy.
        mask_truncated: leave completions without an end out of the loss: their rewards say little (DAPO).
    """

    beta: float = 0.04
    kl: Literal["k3", "corrected"] = "k3"
    entropy: float = 0.0
    surrogate: Literal["clip", "gspo", "cispo"] = "clip"
    clip_low: float = 0.2
    clip_high: float = 0.2
    clip_dual: float | None = 3.0  # verl's, and that of arXiv 1912.09729
    cap: float | None = 2.0  # verl's
    advantage: Literal["sum_then_normalize", "normalize_then_sum"] = "sum_then_normalize"
    scale: Scale = "group"
    baseline: Baseline = "mean"
    normalizer: Normalizer = "grpo"
    balance: Balance | None = None
    balance_power: float = 1.0
    mask_truncated: bool = False

    @property
    def of_all_tokens(self) -> float:
        """Weight of what a token teaches without an advantage, so that groups that all score the same teach as well."""
        return self.beta + self.entropy

    def __post_init__(self) -> None:
        """Refuses numbers that nothing can be learned with.

        Raises:
            FEAError: naming the setting.
        """
        for name in ("beta", "entropy", "clip_low", "clip_high"):
            if not getattr(self, name) >= 0:  # NaN neither
                raise FEAError(f"model.objective.{name}: {getattr(self, name)}; give a number that is not negative")
        if self.clip_dual is not None and not 1 < self.clip_dual < math.inf:
            raise FEAError(
                f"model.objective.clip_dual: {self.clip_dual}; it bounds ratios, which begin at 1: give a number above 1, "
                "or null for no bound"
            )
        if self.cap is not None and not 1 <= self.cap < math.inf:
            raise FEAError(
                f"model.objective.cap: {self.cap}; it bounds a ratio that is 1 where sampling and training agree: give a "
                "number of at least 1, or null for no correction"
            )
        if check_power("model.objective.balance_power", self.balance_power) != 1 and self.balance is None:
            raise FEAError(
                f"model.objective.balance_power: {self.balance_power}, but nothing is balanced; set model.objective.balance to "
                "emotion, au or both"
            )
        if self.baseline == "leave_one_out" and self.scale != "none":
            raise FEAError(
                f"model.objective.baseline: leave_one_out with scale {self.scale} is no more than a larger learning rate: it "
                "multiplies what the scale has made of one size; set model.objective.scale to none, or baseline to mean"
            )
