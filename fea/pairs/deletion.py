"""The deletion flip rate of a policy: does it drop a claim when its Action Unit is gone from the picture?"""

from __future__ import annotations

from collections.abc import Sequence

from fea.data.example import Example
from fea.drawn.world import EVEN, Prior
from fea.evaluation.counts import Floats
from fea.evaluation.hallucination import count_flips, deletions
from fea.model.cache import Trunk
from fea.model.policy import Policy
from fea.model.sampling import Generation
from fea.prompts.answer import Answer
from fea.rollouts.rollout import ask


def deletion_flips(
    policy: Policy,
    examples: Sequence[Example],
    answers: Sequence[Answer],
    generation: Generation,
    batch_size: int = 100,
    prior: Prior = EVEN,
) -> Floats:
    """Asks a policy about faces without the units that it claimed, greedily.

    Args:
        policy: in eval mode.
        examples: F drawn faces.
        answers: its greedy answer about each.
        generation: length limit.
        batch_size: faces at a time.
        prior: of the world that the faces are from.

    Returns:
        (F, 2): of the units that were taken away from each face, those that are claimed no longer, and all of them.
    """
    deleted, trunk = deletions(examples, answers, prior), Trunk()
    found: list[Answer] = []
    for start in range(0, len(deleted), batch_size):
        part = deleted[start : start + batch_size]
        prompts = policy.look([policy.encoder.of(one.example, one.picture) for one in part])
        found += ask(policy, prompts, 1, generation, trunk=trunk).answers
    return count_flips(deleted, found, len(examples))
