"""The losses: clipped policy loss, KL, cross-entropy. Imports torch only.

Shapes in names: N completions, T tokens of a completion.
Sources: DeepSeekMath, arXiv 2402.03300 (k3 KL); DAPO, arXiv 2503.14476 (token mean, clip range);
Dr. GRPO, arXiv 2503.20783 (constant normalizer); Facial-R1, arXiv 2511.10254v1, "Reinforcement learning".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Normalizer = Literal["grpo", "dapo", "dr_grpo"]
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
