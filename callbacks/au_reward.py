"""R_AU: are the named Action Units the ones that the face shows."""

from __future__ import annotations

import math

from fea.data.example import Example
from fea.errors import FEAError
from fea.evaluation.scores import au_f1
from fea.prompts.answer import Answer
from fea.rewards import Region, RewardCallback


class AUReward(RewardCallback):
    """F1 of the Action Units claimed in the think block, over those that were coded (Facial-R1, arXiv 2511.10254v1).

    What nobody coded is not judged, so that to claim it is free; `rollout/uncoded` in the log counts such claims. With a
    penalty a claim of a unit that was not coded for the face takes so much off the F1, down to 0:

        max(0, F1 - uncoded_penalty * number of claimed units that were not coded)

    Args:
        weight: factor in the total reward.
        name: name in the logs; by default the name of the class.
        region: the tokens that it credits; by default those up to the end of the think block.
        timeout: seconds that a call may take; null for any.
        uncoded_penalty: what each claim of an uncoded unit costs. It holds against a policy too what annotators of a narrow
            set of units did not look for.

    Raises:
        FEAError: the penalty is negative, or no number.
    """

    def __init__(
        self,
        weight: float = 1.0,
        name: str | None = None,
        region: Region = "think",
        timeout: float | None = None,
        uncoded_penalty: float = 0.0,
    ):
        super().__init__(weight, name, region, timeout)
        if not 0 <= uncoded_penalty < math.inf:
            raise FEAError(f"AUReward.uncoded_penalty: {uncoded_penalty}; what a claim costs is a number from 0 up")
        self.uncoded_penalty = uncoded_penalty

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        """The score, or None if no unit was coded."""
        score = au_f1(answer, example)
        if score is None or not self.uncoded_penalty:
            return score
        return max(0.0, score - self.uncoded_penalty * len(answer.aus - example.coded))
