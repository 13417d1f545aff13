"""What an answer adds to the group as a distribution of valence and of arousal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fea.evaluation.dimensional import crps_left_out
from fea.evaluation.numbers import told_affect
from fea.prompts.numbers import AFFECT, Number, check_affect
from fea.rewards import Region, RewardCallback
from fea.rollouts.rollout import Rollout


class CRPSReward(RewardCallback):
    """The marginal contribution of an answer to the continuous ranked probability score of its group.

    The G answers about a face are taken as a distribution, and that is compared with the truth y:

        CRPS = mean |x_i - y| - sum over pairs of |x_i - x_j| / (G (G - 1))        fair: unbiased for every G (Ferro, 2014)

    which is least where answers differ as much as they err. An answer earns, of valence and of arousal, whose mean this is,

        (G - 1) * (CRPS without it - CRPS with it)

    so that one which says otherwise than all others is paid where they are wrong, and answers do not all become the same
    one, as rewards for points make them (arXiv 2605.20740, "Distribution-Aware Reward": leave-one-out credit for the CRPS;
    the fair form and the factor are ours). What was asked for and cannot be read counts as 0. A single answer, as in
    validation, earns -|x - y|.

    Where answers about a face hardly differ, `model.objective.scale: group` blows their spread up to 1: set `scale` to none
    or batch.

    Args:
        of: "valence", "arousal" or both.
        weight: factor in the total reward.
        name: name in the logs; by default the name of the class.
        region: the tokens that it credits.

    Raises:
        FEAError: there is no such dimension.
    """

    def __init__(
        self,
        of: Sequence[Number] = AFFECT,
        weight: float = 1.0,
        name: str | None = None,
        region: Region = "all",
    ):
        super().__init__(weight, name, region)
        self.of = check_affect("CRPSReward.of", of)

    def rewards(self, rollout: Rollout) -> Tensor:
        """(B, G) what each answer adds to its group; NaN where no label says."""
        rows = []
        for prompt, answers in zip(rollout.prompts, rollout.by_prompt, strict=True):
            told, truth = [told_affect(answer) for answer in answers], prompt.example.affect
            names = [name for name in self.of if name in truth and all(name in one for one in told)]
            worth = [crps_left_out(np.array([one[name] for one in told]), truth[name]) for name in names]
            rows.append(np.mean(worth, axis=0) if worth else np.full(len(answers), np.nan))
        return torch.from_numpy(np.stack(rows))
