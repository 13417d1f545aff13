"""The terms of an update's loss, as `Objective` has them, over one pack; the formulas are in `fea.losses`."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from fea import losses
from fea.losses import PolicyLoss
from fea.rollouts.buffer import Pack
from fea.training.objective import Objective


class Terms(NamedTuple):
    """What is learned from a pack; shapes as in `fea.grpo`.

    Attributes:
        loss: all terms together.
        policy: the part of the rewards, and what to watch in it.
        watched: (N, T) by name, what to watch in each token.
    """

    loss: Tensor
    policy: PolicyLoss
    watched: dict[str, Tensor]


def terms(goal: Objective, logps: Tensor, entropies: Tensor, pack: Pack) -> Terms:
    """Policy term, KL term and entropy bonus of a pack.

    Args:
        goal: what is maximized.
        logps: (N, T) under the policy now.
        entropies: (N, T) of its distributions; with a gradient if there is a bonus for them.
        pack: with what was seen while sampling.
    """
    old_logps = pack.old(logps)
    correction = losses.sampling_correction(old_logps, pack.sampled_logps, goal.cap)
    policy = _policy_term(goal, logps, old_logps, correction, pack)
    loss = policy.loss
    watched = {"entropy": entropies, "sampling_gap": (logps - pack.sampled_logps).abs()}
    if pack.ref_logps is not None:
        watched["kl"] = losses.kl_k3(logps, pack.ref_logps)
        # k3 is left alone by the correction, as in TRL and verl; a corrected one is about the tokens' own distribution.
        if goal.kl == "corrected":
            watched["kl"] = losses.kl_corrected(logps, pack.ref_logps, old_logps, correction)
        loss = loss + goal.beta * (watched["kl"] * pack.weights).sum()
    if goal.entropy:
        loss = loss - goal.entropy * (entropies * pack.weights).sum()
    return Terms(loss, policy, watched)


def _policy_term(goal: Objective, logps: Tensor, old_logps: Tensor, correction: Tensor, pack: Pack) -> PolicyLoss:
    """The part of the rewards."""
    # A positive factor of the advantages is one of the whole policy term: it moves through minimum, maximum and clips.
    advantages = pack.advantages * correction
    if goal.surrogate == "gspo":
        ratio = losses.sequence_ratio(logps, old_logps, pack.mask)
    else:
        ratio = losses.importance_ratio(logps, old_logps)
    if goal.surrogate == "cispo":
        return losses.cispo_loss(logps, ratio, advantages, pack.weights, goal.clip_low, goal.clip_high)
    return losses.policy_loss(ratio, advantages, pack.weights, goal.clip_low, goal.clip_high, goal.clip_dual)
