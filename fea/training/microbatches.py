"""An update whose completions go through the policy some at a time, in microbatches, with the numbers of a whole pack."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor

from fea.model.policy import Policy
from fea.model.reading import Leaves, whole_of
from fea.rollouts.buffer import Pack
from fea.training.terms import Terms

Losses = Callable[[Tensor, Tensor, Pack], Terms]


class Learned(NamedTuple):
    """What has come of a pack.

    Attributes:
        logps: (N, T) of the pack; without a graph if the backward passes of the parts have been through it.
        entropies: likewise.
        joined: makes of the loss, computed from these, one whose backward pass is what is still to come.
    """

    logps: Tensor
    entropies: Tensor
    joined: Callable[[Tensor], Tensor]


def learn(
    policy: Policy, pack: Pack, parts: int, losses: Losses, temperature: float, entropy: bool, factor: float = 1.0
) -> Learned:
    """Takes a pack through the policy in parts. Its gradients are complete after the backward pass of the joined loss.

    Args:
        policy: in training.
        pack: whole groups.
        parts: how many, of about equally many completions of each group.
        losses: of log-probabilities and entropies, (N, T) each; sums over completions, so that those of the parts add up.
        temperature: of sampling.
        entropy: whether entropies carry a gradient.
        factor: of the loss in the backward pass: the joined loss will come to be multiplied by as much.
    """
    if parts == 1:
        found = policy.logps(pack.prompts, pack.ids, pack.mask, temperature, entropy_gradient=entropy)
        return Learned(*found, lambda loss: loss)
    leaves = Leaves(policy.read(pack.prompts)[1])
    told = []
    for part in pack.parts(parts):
        logps, entropies = policy.logps(part.prompts, part.ids, part.mask, temperature, entropy, leaves.read)
        leaves.learn(losses(logps, entropies, part).loss * factor)
        told.append((logps.detach(), entropies.detach()))
    logps_NT, entropies_NT = (whole_of(each, len(pack.prompts)) for each in zip(*told, strict=True))
    return Learned(logps_NT, entropies_NT, partial(leaves.joined, factor=factor, weights=policy.trainable().values()))
