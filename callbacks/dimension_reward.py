"""How near are valence and arousal, each answer by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from fea.data.example import Example
from fea.errors import FEAError
from fea.evaluation.numbers import told_affect
from fea.prompts.answer import Answer
from fea.prompts.numbers import AFFECT, Number, check_affect
from fea.rewards import Region, RewardCallback


class DimensionReward(RewardCallback):
    """exp(-(e / tau)^2) of the error e, the mean over those of valence and arousal that are known of the face.

    It is 1 for the true number, 0.37 where it is off by tau, and nearly flat where it is far off. What was asked for and
    cannot be read counts as 0, the middle of the range. A policy that is rewarded for points draws its answers to what is
    usual, since that is seldom far off: `CCCReward` pays for telling faces apart.

    Where answers about a face hardly differ, `model.objective.scale: group` blows a spread of 0.001 up to one of 1: set
    `scale` to none or batch.

    Args:
        of: "valence", "arousal" or both.
        tau: error by which a third is left; 0.25 is about what raters of photographs differ by.
        weight: factor in the total reward.
        name: name in the logs; by default the name of the class.
        region: the tokens that it credits.
        timeout: seconds that a call may take; null for any.

    Raises:
        FEAError: there is no such dimension, or tau is not above 0.
    """

    def __init__(
        self,
        of: Sequence[Number] = AFFECT,
        tau: float = 0.25,
        weight: float = 1.0,
        name: str | None = None,
        region: Region = "all",
        timeout: float | None = None,
    ):
        super().__init__(weight, name, region, timeout)
        if not 0 < tau < math.inf:
            raise FEAError(f"DimensionReward.tau: {tau}; give a number above 0")
        self.of, self.tau = check_affect("DimensionReward.of", of), tau

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        """The score, or None if nothing is known, or asked."""
        told, truth = told_affect(answer), example.affect
        near = [math.exp(-(((told[n] - truth[n]) / self.tau) ** 2)) for n in self.of if n in told and n in truth]
        return fmean(near) if near else None
