"""The group advantage: completions of a prompt are compared with each other, and tokens credited for it. Imports torch only.

Shapes in names: B prompts, G completions of each, N = B * G, K rewards, T tokens of a completion.
Sources: DeepSeekMath, arXiv 2402.03300, section 4.1 (group advantage); Facial-R1, arXiv 2511.10254v1, "Reinforcement learning".
"""

from __future__ import annotations

import torch
from torch import Tensor

# Added to a group's standard deviation, as in TRL: a spread far below this teaches little instead of a full-size advantage.
STD_EPS = 1e-4


# Rewards nearer than this are equal and rank nothing. Sums of the same rewards differ by rounding, in fp32 about 1e-7.
SAME = 1e-6


def sum_then_normalize(rewards_BGK: Tensor, weights_K: Tensor) -> Tensor:
    """Advantage of each completion's summed reward within its group: the paper's.

    Args:
        rewards_BGK: NaN where a reward does not apply; it must then be NaN for the whole group.
        weights_K: weight of each reward.

    Returns:
        (B, G), zero for a group whose completions all score the same.

    Raises:
        ValueError: a reward is NaN for part of a group only, which would bias the group's mean.
    """
    missing = rewards_BGK.isnan()
    if (missing.any(dim=1) & ~missing.all(dim=1)).any():
        raise ValueError("a reward applies to only some completions of a prompt; the group's mean would be biased")
    return _normalize((rewards_BGK.nan_to_num() * weights_K).sum(dim=-1))


def normalize_then_sum(rewards_BGK: Tensor, weights_K: Tensor) -> Tensor:
    """Advantage of every reward by itself within its group, so that each can be credited to its own region.

    Args:
        rewards_BGK: NaN where a reward does not apply; mean and standard deviation leave it out.
        weights_K: weight of each reward.

    Returns:
        (B, G, K), weighted; zero where a reward does not apply or ranks nothing.
    """
    return _normalize(rewards_BGK) * weights_K


def _normalize(rewards: Tensor) -> Tensor:
    """(r - mean) / (std + eps) along dimension 1, NaN left out; the standard deviation is the unbiased one."""
    known = ~rewards.isnan()
    count = known.sum(dim=1, keepdim=True)
    values = rewards.nan_to_num()
    mean = values.sum(dim=1, keepdim=True) / count.clamp(min=1)
    deviation = torch.where(known, values - mean, 0.0)
    std = (deviation.square().sum(dim=1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    ranks = spread(rewards, dim=1).unsqueeze(1) > SAME  # what only rounding tells apart must not become an advantage
    return torch.where(ranks, deviation / (std + STD_EPS), 0.0)


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
