"""The losses: clipped policy loss, KL, cross-entropy, and log-probabilities in little memory. Imports torch only.

Shapes in names: N completions, T tokens of a completion, D hidden width, V vocabulary.
Sources: DeepSeekMath, arXiv 2402.03300 (k3 KL); DAPO, arXiv 2503.14476 (token mean, clip range);
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
