"""R_AU: are the named Action Units the ones that the face shows."""

from __future__ import annotations

from fea.data.example import Example
from fea.evaluation.scores import au_f1
from fea.prompts.answer import Answer
from fea.rewards import Region, RewardCallback


class AUReward(RewardCallback):
    """F1 of the Action Units claimed in the think block, over those that were coded (Facial-R1, arXiv 2511.10254v1).

    Args:
        weight: factor in the total reward.
        name: name in the logs; by default the name of the class.
        region: the tokens that it credits; by default those up to the end of the think block.
    """

    def __init__(self, weight: float = 1.0, name: str | None = None, region: Region = "think"):
        super().__init__(weight, name, region)

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        """The score, or None if no unit was coded."""
        return au_f1(answer, example)
