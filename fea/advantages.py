"""The group advantage: completions of a prompt are compared with each other, and tokens credited for it. Imports torch only.

Shapes in names: B prompts, G completions of each, N = B * G, K rewards, T tokens of a completion.
Sources: DeepSeekMath, arXiv 2402.03300, section 4.1 (group advantage); Facial-R1, arXiv 2511.10254v1, "Reinforcement learning";
Lite PPO, arXiv 2508.08221 (scale of the batch); Dr. GRPO, arXiv 2503.20783 (no scale); RLOO, arXiv 2402.14740 (leave-one-out
baseline).

To normalize is to take away the baseline, which is the mean of the group or of its others, and to divide by the scale: the
standard deviation of the group or of the batch on all processes, or 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Scale = Literal["group", "batch", "none"]
Baseline = Literal["mean", "leave_one_out"]
Total = Callable[[Tensor], Tensor]  # sums over all processes

# Added to the standard deviation, as in TRL: a spread far below this teaches little instead of a full-size advantage.
STD_EPS = 1e-4


# Rewards nearer than this are equal and rank nothing. Sums of the same rewards differ by rounding, in fp32 about 1e-7.
SAME = 1e-6


def _alone(value: Tensor) -> Tensor:
    """The sum of one process over all of them."""
    return value


def sum_then_normalize(
    rewards_BGK: Tensor, weights_K: Tensor, scale: Scale = "group", baseline: Baseline = "mean", total: Total = _alone
) -> Tensor:
    """Advantage of each completion's summed reward within its group: the paper's.

    Args:
        rewards_BGK: NaN where a reward does not apply; it must then be NaN for the whole group.
        weights_K: weight of each reward.
        scale: what the distance from the baseline is divided by.
        baseline: what each is compared with: the mean of the group, or of the others in it.
        total: sums over processes.

    Returns:
        (B, G), zero for a group whose completions all score the same.

    Raises:
        ValueError: a reward is NaN for part of a group only, which would bias the group's mean.
    """
    missing = rewards_BGK.isnan()
    if (missing.any(dim=1) & ~missing.all(dim=1)).any():
        raise ValueError("a reward applies to only some completions of a prompt; the group's mean would be biased")
    unknown_BG = (missing | (weights_K == 0)).all(dim=-1)  # no reward is not a reward of 0
    sums_BG = (rewards_BGK.nan_to_num() * weights_K).sum(dim=-1)
    return _normalize(sums_BG.masked_fill(unknown_BG, torch.nan), scale, baseline, total)


def normalize_then_sum(
    rewards_BGK: Tensor, weights_K: Tensor, scale: Scale = "group", baseline: Baseline = "mean", total: Total = _alone
) -> Tensor:
    """Advantage of every reward by itself within its group, so that each can be credited to its own region.

    Args:
        rewards_BGK: NaN where a reward does not apply; mean and standard deviation leave it out.
        weights_K: weight of each reward.
        scale: what the distance from the baseline is divided by, for each reward by itself.
        baseline: what each is compared with: the mean of the group, or of the others in it.
        total: sums over processes.

    Returns:
        (B, G, K), weighted; zero where a reward does not apply or ranks nothing.
    """
    return _normalize(rewards_BGK, scale, baseline, total) * weights_K


def _normalize(rewards: Tensor, scale: Scale, baseline: Baseline, total: Total) -> Tensor:
    """(r - baseline) / (std + eps), or / 1; dimension 1 is the group, dimensions 0 and 1 are the batch."""
    compared, std = _moments(rewards, (1,), _alone)
    if baseline == "leave_one_out":
        compared = mean_of_others(rewards)
    if scale == "batch":
        std = _moments(rewards, (0, 1), total)[1]
    divisor = torch.ones_like(std) if scale == "none" else std + STD_EPS
    ranks = spread(rewards, dim=1).unsqueeze(1) > SAME  # what only rounding tells apart must not become an advantage
    return torch.where(ranks & ~rewards.isnan(), (rewards - compared) / divisor, 0.0)


def mean_of_others(rewards: Tensor) -> Tensor:
    """For each completion the mean reward of the others of its group, NaN left out: the leave-one-out baseline.

    The group's own mean holds the completion that is compared with it, so that what is left of n rewards is (n - 1) / n of
    their distance from what is expected; this one is independent of it, and the gradient unbiased for every n.

        rewards    1    0    0    1          less the mean     0.5  -0.5  -0.5   0.5
        others    1/3  2/3  2/3  1/3         less the others   2/3  -2/3  -2/3   2/3      4/3 times as much

    Source: RLOO, arXiv 2402.14740, section 2.2 (Kool et al., 2019).

    Args:
        rewards: dimension 1 is the group.

    Returns:
        The same shape; 0 where there are no others.
    """
    others = (~rewards.isnan()).sum(dim=1, keepdim=True) - 1
    return (rewards.nansum(dim=1, keepdim=True) - rewards) / others.clamp(min=1)


def _moments(rewards: Tensor, dims: tuple[int, ...], total: Total) -> tuple[Tensor, Tensor]:
    """Mean and unbiased standard deviation along dimensions, which stay as such of size 1; NaN left out."""
    known = ~rewards.isnan()

    def added(values: Tensor) -> Tensor:
        return total(torch.where(known, values, 0.0).sum(dim=dims, keepdim=True))

    count = added(torch.ones_like(rewards))
    mean = added(rewards) / count.clamp(min=1)
    variance = added((rewards - mean).square()) / (count - 1).clamp(min=1)
    return mean, variance.sqrt()


def spread(rewards: Tensor, dim: int) -> Tensor:
    """Largest minus smallest reward along a dimension, NaN left out; 0 if nothing is known."""
    known = ~rewards.isnan()
    high = torch.where(known, rewards, -torch.inf).amax(dim)
    low = torch.where(known, rewards, torch.inf).amin(dim)
    return torch.where(known.any(dim), high - low, 0.0)


def token_advantages(advantages_NK: Tensor, regions_NK2: Tensor, mask_NT: Tensor) -> Tensor:
    """Spreads advantages over tokens: each acts on the tokens of its region and is averaged over these.

    A token's advantage is scaled by length / region, so that the mean over the completion's tokens equals the sum of the
    means over the regions.

    Args:
        advantages_NK: one column a region.
        regions_NK2: first token and end (exclusive) of each region; an empty one credits nothing.
        mask_NT: 1 for the tokens of a completion.

    Returns:
        (N, T).
    """
    # Tokens 0 1 2 3 4 5, of which 5 is padding; think = [0, 4), answer = [4, 5), both averaged over the 5 tokens:
    #   inside   think 1 1 1 1 . .   scale 5/4      the sum over tokens / 5 = A_think + A_answer,
    #           answer . . . . 1 .   scale 5/1      so 1 token of an answer counts as much as 4 of thinking
    steps_T = torch.arange(mask_NT.shape[1], device=mask_NT.device)
    inside_NKT = (steps_T >= regions_NK2[..., :1]) & (steps_T < regions_NK2[..., 1:]) & mask_NT[:, None].bool()
    length_N1 = mask_NT.sum(dim=1, keepdim=True)
    scale_NK = length_N1 / inside_NKT.sum(dim=-1).clamp(min=1)
    return (inside_NKT * (advantages_NK * scale_NK)[..., None]).sum(dim=1)
