"""The formulas of GRPO: advantages, clipped policy loss, KL, and log-probabilities in little memory. Imports torch only.

Shapes in names: B prompts, G completions of each, N = B * G, K rewards, T tokens of a completion, D hidden width, V vocabulary.
Sources: DeepSeekMath, arXiv 2402.03300 (group advantage, k3 KL); DAPO, arXiv 2503.14476 (token mean, clip range);
Dr. GRPO, arXiv 2503.20783 (constant normalizer); Facial-R1, arXiv 2511.10254v1, "Reinforcement learning".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Normalizer = Literal["grpo", "dapo", "dr_grpo"]

# Added to a group's standard deviation, as in TRL: a spread far below this teaches little instead of a full-size advantage.
STD_EPS = 1e-4
# Rewards nearer than this are equal and rank nothing. Sums of the same rewards differ by rounding, in fp32 about 1e-7.
SAME = 1e-6
# exp() of more than 88 overflows fp32, and inf * 0 is NaN. exp(20) = 5e8 is finite, and far outside of any clip range.
MAX_LOG_RATIO = 20.0


@dataclass
class Objective:
    """What an update maximizes.

    Args:
        beta: weight of the KL term; 0 needs no reference policy.
        clip_low: how far the ratio may fall below 1.
        clip_high: how far it may rise above 1.
        advantage: "sum_then_normalize" compares total rewards (the paper's); "normalize_then_sum" compares each reward by
            itself and credits it to its own region.
        normalizer: "grpo" averages over each completion, "dapo" over tokens, "dr_grpo" divides by a constant.
        mask_truncated: leave completions without an end out of the loss.
    """

    beta: float = 0.04
    clip_low: float = 0.2
    clip_high: float = 0.2
    advantage: Literal["sum_then_normalize", "normalize_then_sum"] = "sum_then_normalize"
    normalizer: Normalizer = "grpo"
    mask_truncated: bool = False


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


def token_weights(mask_NT: Tensor, normalizer: Normalizer, completions: int, tokens: int, max_tokens: int) -> Tensor:
    """Weight of each token in the loss of one optimizer step; the weights of all its packs on all ranks sum to the mean.

    Args:
        mask_NT: 1 for the tokens that count.
        normalizer: "grpo" averages over each completion, then over completions; "dapo" over all tokens; "dr_grpo" divides
            by the constant completions * max_tokens, so that no length is reweighed.
        completions: completions of the step, over all packs and ranks, those that left it included.
        tokens: tokens of the step that count, likewise.
        max_tokens: length limit of a completion.

    Returns:
        (N, T).
    """
    if normalizer == "grpo":
        return mask_NT / mask_NT.sum(dim=1, keepdim=True).clamp(min=1) / completions
    if normalizer == "dapo":
        return mask_NT / max(tokens, 1)
    return mask_NT / (completions * max_tokens)


class PolicyLoss(NamedTuple):
    """Value of the clipped objective and what to watch in it; the shares are means under the token weights."""

    loss: Tensor
    clipped_low: Tensor
    clipped_high: Tensor


def policy_loss(
    logps: Tensor, old_logps: Tensor, advantages: Tensor, weights: Tensor, clip_low: float, clip_high: float
) -> PolicyLoss:
    """PPO's clipped loss: sum over tokens of -weight * min(r A, clip(r, 1 - low, 1 + high) A), r = exp(logp - old).

    Args:
        logps: log-probabilities under the policy, any shape; the others have the same.
        old_logps: under the policy that sampled.
        advantages: per token.
        weights: per token, 0 for those that do not count.
        clip_low: how far the ratio may fall below 1.
        clip_high: how far it may rise above 1.
    """
    log_ratio = (logps.float() - old_logps).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    ratio = log_ratio.exp()
    gain = torch.min(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)
    # The lower bound of the divisor is for packs whose tokens all weigh nothing: their shares are 0, not 0 / 0.
    share = weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
    low = (share * ((ratio < 1 - clip_low) & (advantages < 0))).sum()
    high = (share * ((ratio > 1 + clip_high) & (advantages > 0))).sum()
    return PolicyLoss(-(gain * weights).sum(), low.detach(), high.detach())


def mean_nll(logps_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Negative log-likelihood of texts, averaged over the tokens of each, then over texts: in nats per token."""
    return -(logps_NT.sum(dim=1) / mask_NT.sum(dim=1)).mean()


def kl_k3(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Per-token estimate of KL(policy || reference): exp(d) - d - 1 with d = ref - logp. Never negative, 0 if equal."""
    difference = (ref_logps - logps.float()).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return difference.exp() - difference - 1


def token_logps(
    hidden_ND: Tensor,
    head_VD: Tensor,
    targets_N: Tensor,
    forbidden: Tensor | None = None,
    temperature: float = 1.0,
    chunk: int = 512,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution; no (N, V) tensor ever exists at once.

    Each chunk is recomputed in the backward pass. The softmax runs in fp32: in bf16 it errs by 0.02 nats.

    Args:
        hidden_ND: last hidden states of the predicting positions.
        head_VD: weight of the output head.
        targets_N: token ids.
        forbidden: ids that are never sampled, taken out of the distribution here as there.
        temperature: the logits are divided by it, as in sampling.
        chunk: positions at a time. 512 with a vocabulary of 152k are 0.3 GB of fp32 logits; 2,048 at once would be 1.25 GB,
            three times over in the backward pass.

    Returns:
        Log-probabilities and entropies in nats, (N,) each, fp32; the entropies carry no gradient.
    """
    chunks = zip(torch.split(hidden_ND, chunk), torch.split(targets_N, chunk), strict=True)
    parts = [
        checkpoint(_chunk_logps, hidden, head_VD, targets, forbidden, temperature, use_reentrant=False)
        for hidden, targets in chunks
    ]
    logps, entropies = zip(*parts, strict=True)
    return torch.cat(logps), torch.cat(entropies)


def _chunk_logps(
    hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, forbidden: Tensor | None, temperature: float
) -> tuple[Tensor, Tensor]:
    """`token_logps` of so few positions that their logits fit in memory."""
    log_p_NV = log_distribution(F.linear(hidden_ND, head_VD), forbidden, temperature)
    with torch.no_grad():
        entropy_N = -(log_p_NV.exp() * log_p_NV).sum(dim=-1)
    return log_p_NV.gather(-1, targets_N[:, None])[:, 0], entropy_N


def log_distribution(logits: Tensor, forbidden: Tensor | None, temperature: float) -> Tensor:
    """fp32 log-probabilities of the distribution that is sampled from: (..., V) to (..., V)."""
    logits = logits.float() / temperature
    if forbidden is not None:
        logits = logits.index_fill(-1, forbidden, -1e9)  # p is 0, but finite: in the entropy 0 * -inf would be NaN
    return logits.log_softmax(dim=-1)
