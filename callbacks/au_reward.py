"""R_AU: are the named Action Units the ones that the face shows."""

from __future__ import annotations

import math

from fea.data.example import Example
from fea.data.shares import Shares, check_power
from fea.errors import FEAError
from fea.evaluation.scores import au_f1, has_thinking
from fea.prompts.answer import Answer
from fea.rewards import Region, RewardCallback


class AUReward(RewardCallback):
    """F1 of the Action Units claimed in the think block, over those that were coded (Facial-R1, arXiv 2511.10254v1).

    The F1 of a face pays a policy for leaving out each unit that it is not sure of, and it is least sure of rare ones. Let q_u
    be the share of the training faces, as they are drawn, that show u, among those for which it was coded.

    Balanced, every unit counts 1 / q_u^balance in the F1, among hits, claimed and present ones: to invent, miss or find a rare
    one weighs more. Corrected, a claim earns what it tells beyond what guessing does:

        sum over the claimed coded units u of  s_u ([u is there] - q_u) / Z,     s_u = 1 / (q_u (1 - q_u))^balance
        Z = mean over the faces of what their true units earn = sum over u of  c_u q_u (1 - q_u) s_u

    with c_u the share of the faces for which u was coded. Whatever is claimed without looking earns 0 on average, and so does
    silence; the true units earn 1 on average, a face that shows more or rarer ones more. Z is one number: if each face were
    divided by what it can earn itself, a claim would be worth less where more is there, and no longer 0 on average. A claim
    pays if the unit is likelier than among all faces, so that more is claimed, and more invented, than for an F1. By 0.5 every
    unit's claim has the same spread, by 1 a unit earns as much in all however rare it is. A unit that no drawn face shows
    costs what the dearest wrong claim does, so that it is not the cheap one to invent, and an answer without thinking earns -1,
    what the true units earn with the other sign, so that not to think is worse than to claim nothing.

    `model.objective.scale: group` makes groups of all faces one size again: what is left of the weights is which claims about
    the same face are preferred. To let rare units count more between faces, set `scale` to batch or none.

    What nobody coded is not judged, so that to claim it is free; `rollout/uncoded` in the log counts such claims. With a
    penalty a claim of a unit that was not coded for the face takes so much off, from an F1 down to 0:

        max(0, F1 - uncoded_penalty * number of claimed units that were not coded)

    Args:
        weight: factor in the total reward.
        name: name in the logs; by default the name of the class.
        region: the tokens that it credits; by default those up to the end of the think block.
        timeout: seconds that a call may take; null for any.
        uncoded_penalty: what each claim of an uncoded unit costs. It holds against a policy too what annotators of a narrow
            set of units did not look for.
        corrected: pay claims for what they tell beyond guessing, in place of an F1.
        balance: power, from 0 to 1, by which a rare unit counts more; the higher, the more a few claims decide.

    Raises:
        FEAError: the penalty is negative, or no number, or the power is not in its range.
    """

    def __init__(
        self,
        weight: float = 1.0,
        name: str | None = None,
        region: Region = "think",
        timeout: float | None = None,
        uncoded_penalty: float = 0.0,
        corrected: bool = False,
        balance: float = 0.0,
    ):
        super().__init__(weight, name, region, timeout)
        if not 0 <= uncoded_penalty < math.inf:
            raise FEAError(f"AUReward.uncoded_penalty: {uncoded_penalty}; what a claim costs is a number from 0 up")
        self.uncoded_penalty = uncoded_penalty
        self.corrected, self.balance = corrected, check_power("AUReward.balance", balance)

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        """The score, or None if no unit was coded, or none was asked for."""
        if not example.coded or answer.form == "only":
            return None
        penalty = self.uncoded_penalty * len(answer.aus - example.coded)
        if self.corrected:
            return self._told(answer, example, self.shares) - penalty
        score = self._balanced_f1(answer, example, self.shares) if self.balance else au_f1(answer, example)
        return max(0.0, (score or 0.0) - penalty)

    def _balanced_f1(self, answer: Answer, example: Example, shares: Shares) -> float | None:
        counts = {unit: q**-self.balance for unit, q in shares.units.items()}
        rarest = max(counts.values(), default=1.0)  # a unit that no drawn face shows is as rare as the rarest
        return au_f1(answer, example, lambda unit: counts.get(unit, rarest))

    def _told(self, answer: Answer, example: Example, shares: Shares) -> float:
        """What claims tell beyond what guessing does, over the mean of what the true ones do."""
        if not has_thinking(answer):
            return -1.0
        # One that all faces show tells nothing: its claim earns 0.
        scale = {unit: (q * (1 - q)) ** -self.balance for unit, q in shares.units.items() if q < 1}
        costs = {unit: scale.get(unit, 0.0) * q for unit, q in shares.units.items()}
        dearest = max(costs.values(), default=0.0)
        earned = 0.0
        for unit in sorted(answer.aus & example.coded):
            earned += scale.get(unit, 0.0) * (unit in example.present) - costs.get(unit, dearest)
        mean = sum(shares.coded[unit] * q * (1 - q) * scale.get(unit, 0.0) for unit, q in shares.units.items())
        return earned / mean if mean else 0.0
