"""The losses: clipped policy loss, KL, cross-entropy, preference. Imports torch only.

Shapes in names: N completions, T tokens of a completion.
Sources: DeepSeekMath, arXiv 2402.03300 (k3 KL); DAPO, arXiv 2503.14476 (token mean, clip range);
Dr. GRPO, arXiv 2503.20783 (constant normalizer); Ye et al., arXiv 1912.09729 (dual clip); DeepSeek-V3.2, arXiv 2512.02556
(corrected KL); GSPO, arXiv 2507.18071 (sequence ratio); MiniMax-M1, arXiv 2506.13585 (CISPO); Facial-R1,
arXiv 2511.10254v1, "Reinforcement learning"; DPO, arXiv 2305.18290 (preference); mDPO, arXiv 2406.11839 (anchor).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

Normalizer = Literal["grpo", "dapo", "dr_grpo"]
# exp() of more than 88 overflows fp32, and inf * 0 is NaN. exp(20) = 5e8 is finite, and far outside of any clip range.
MAX_LOG_RATIO = 20.0


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


def importance_ratio(logps: Tensor, base_logps: Tensor) -> Tensor:
    """Per token, how much more probable it is than under another policy: exp(logp - base), bounded so that it is finite."""
    return (logps.float() - base_logps).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def sequence_ratio(logps_NT: Tensor, old_logps_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Per token, the ratio of its whole completion: exp(mean over the completion's tokens of logp - old).

    What is rewarded is a completion, and the ratio of one token is a single sample of what to weigh it by: such weights are
    noise that grows with the length, while their geometric mean over a completion is near 1. A completion is clipped as a whole
    or not at all.

    All tokens of a completion have the same value; the gradient is that of each token's own log-probability, times this value.
    So tokens with advantages of their own are credited for these (GSPO-token); where all advantages of a completion are equal
    the gradient is the one that goes through the mean (GSPO).

    Source: GSPO, arXiv 2507.18071, equations 7 and 14.

    Args:
        logps_NT: log-probabilities under the policy.
        old_logps_NT: under the policy that sampled.
        mask_NT: 1 for the tokens of a completion.
    """
    difference_NT = (logps_NT.detach().float() - old_logps_NT) * mask_NT
    mean_N1 = difference_NT.sum(dim=1, keepdim=True) / mask_NT.sum(dim=1, keepdim=True).clamp(min=1)
    return mean_N1.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() * (logps_NT - logps_NT.detach()).float().exp()


def sampling_correction(old_logps: Tensor, sampled_logps: Tensor, cap: float | None) -> Tensor:
    """Truncated importance weight of each token: min(old / sampled, cap), without a gradient.

    Sampler and trainer compute the same policy by other kernels, so that tokens come from a slightly different distribution
    than the one whose ratio is clipped. Times their advantages it makes the policy term one about the trainer's. The weights
    are not made to average to 1 (as they are not in verl and TRL), so that packs need not know of each other.

    Args:
        old_logps: under the policy that sampled, as training computes it.
        sampled_logps: as seen while sampling.
        cap: what the weight is truncated at; None for weights of 1.
    """
    if cap is None:
        return torch.ones_like(old_logps)
    # A probability that the sampler does not know corrects nothing.
    return importance_ratio(old_logps.detach(), sampled_logps).nan_to_num(nan=1.0).clamp(max=cap)


class PolicyLoss(NamedTuple):
    """Value of the clipped objective and what to watch in it; the shares are means under the token weights."""

    loss: Tensor
    clipped_low: Tensor
    clipped_high: Tensor
    clipped_dual: Tensor


def policy_loss(
    ratio: Tensor,
    advantages: Tensor,
    weights: Tensor,
    clip_low: float,
    clip_high: float,
    clip_dual: float | None = None,
) -> PolicyLoss:
    """PPO's clipped loss: sum over tokens of -weight * min(r A, clip(r, 1 - low, 1 + high) A).

    With a dual clip a negative A gives -weight * max(that, dual A): the minimum alone has no lower bound.

        loss / weight, A = 1, clips 0.2          loss / weight, A = -1, clips 0.2, dual 3
        r    0.5    1     1.2    4               r   0.5    0.8   1     3     4
            -0.5   -1    -1.2   -1.2                 0.8    0.8   1     3     3

    Args:
        ratio: how much more probable each token, or its completion, is than under the policy that sampled: `importance_ratio`
            or `sequence_ratio`. Of any shape; the others have the same.
        advantages: per token.
        weights: per token, 0 for those that do not count.
        clip_low: how far the ratio may fall below 1.
        clip_high: how far it may rise above 1.
        clip_dual: ratio beyond which a token with a negative advantage counts no more; None for no such bound.
    """
    gain = torch.min(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)
    beyond = torch.zeros_like(ratio, dtype=torch.bool)
    if clip_dual is not None:
        gain = torch.where(advantages < 0, torch.max(gain, clip_dual * advantages), gain)
        beyond = (ratio > clip_dual) & (advantages < 0)
    low, high = (ratio < 1 - clip_low) & (advantages < 0), (ratio > 1 + clip_high) & (advantages > 0)
    return PolicyLoss(-(gain * weights).sum(), *(_share(which, weights) for which in (low, high, beyond)))


def cispo_loss(
    logps: Tensor, ratio: Tensor, advantages: Tensor, weights: Tensor, clip_low: float, clip_high: float
) -> PolicyLoss:
    """CISPO: sum over tokens of -weight * stopgrad(clip(r, 1 - low, 1 + high)) A logp.

    PPO's clip takes the gradient of a token away once its ratio has left the range: first of all that of rare tokens, whose
    ratios move most. Here the weight of a token is clipped instead, and none is dropped: it is REINFORCE with a bounded
    importance weight.

        slope in logp / weight, A = 1, clips 0.2        the same for A = -1
        r    0.5    1     1.2    4                      r   0.5   1     1.2   4
            -0.8   -1    -1.2   -1.2                        0.8   1     1.2   1.2

    Source: MiniMax-M1, arXiv 2506.13585, equations 4 and 5.

    Args:
        logps: log-probabilities under the policy, any shape; the others have the same.
        ratio: as in `policy_loss`.
        advantages: per token.
        weights: per token, 0 for those that do not count.
        clip_low: how far below 1 the weight may be; 1 or more for no such bound, as in the paper.
        clip_high: how far above 1.
    """
    low, high = ratio < 1 - clip_low, ratio > 1 + clip_high
    gain = ratio.detach().clamp(1 - clip_low, 1 + clip_high) * advantages * logps.float()
    return PolicyLoss(
        -(gain * weights).sum(), _share(low, weights), _share(high, weights), torch.zeros_like(weights.sum())
    )


def _share(which: Tensor, weights: Tensor) -> Tensor:
    """Share of the weight that some tokens have; 0, not 0 / 0, where no token has any."""
    share = weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
    return (share * which).sum()


def mean_nll(logps_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Negative log-likelihood of texts, averaged over the tokens of each, then over texts: in nats per token."""
    return -(logps_NT.sum(dim=1) / mask_NT.sum(dim=1)).mean()


def kl_k3(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Per-token estimate of KL(policy || reference): exp(d) - d - 1 with d = ref - logp. Never negative, 0 if equal.

    Its mean over the policy's own tokens is the KL, but the mean of its gradient is that of KL(reference || policy).
    """
    difference = (ref_logps - logps.float()).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return difference.exp() - difference - 1


def kl_corrected(logps: Tensor, ref_logps: Tensor, old_logps: Tensor, correction: Tensor) -> Tensor:
    """`kl_k3` times the ratio of the policy to the sampler: over the sampler's tokens, mean and gradient are the KL's.

    The gradient goes through the ratio. It is policy / old * old / sampler, the latter as truncated by `sampling_correction`:
    in DeepSeek-V3.2 "old" is the sampler itself.
    """
    return importance_ratio(logps, old_logps) * correction * kl_k3(logps, ref_logps)


def implicit_reward(logps: Tensor, ref_logps: Tensor, beta: float) -> Tensor:
    """What a policy prefers a text by, as if it had been trained on it as a reward: h = beta (log pi - log pi_ref).

    Args:
        logps: of whole texts, any shape.
        ref_logps: under the reference policy.
        beta: how far the reference may be left: the larger, the less.
    """
    return beta * (logps - ref_logps)


def preference_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """-log sigmoid(h - h'): log 2 where both are preferred alike, about 0 where the chosen one is by much.

    Args:
        chosen: implicit rewards, any shape.
        rejected: of the same shape.
    """
    return softplus(rejected - chosen)


def anchor_loss(chosen: Tensor, least: float) -> Tensor:
    """-log sigmoid(h - least): keeps what is chosen from becoming less likely, which a difference alone allows.

    Args:
        chosen: implicit rewards, any shape.
        least: that they are to have.
    """
    return softplus(least - chosen)
