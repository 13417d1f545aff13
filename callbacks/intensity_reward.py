"""How near are the grades of the Action Units."""

from __future__ import annotations

from statistics import fmean

from fea.data.example import Example
from fea.evaluation.numbers import told_grades
from fea.evaluation.scores import has_thinking
from fea.prompts.answer import Answer
from fea.rewards import Region, RewardCallback


class IntensityReward(RewardCallback):
    """1 - |e| / 5 of the error e in grades, the mean over the units that are there or claimed.

    What is not claimed is told as 0, and what is not there is 0: to invent a unit costs by how strongly it is claimed, and
    to miss one by how strongly it shows. Units that are neither there nor claimed do not count, or silence would earn nearly
    all. A claim without a letter counts as C, the middle grade. Nothing there and nothing claimed earns 1, an answer without
    thinking 0.

    It says little of which units there are: a trace that is missed costs a fifth. Beside it stands `AUReward` or
    `MacroF1Reward`.

    Args:
        weight: factor in the total reward.
        name: name in the logs; by default the name of the class.
        region: the tokens that it credits; by default those up to the end of the think block.
        timeout: seconds that a call may take; null for any.
    """

    def __init__(
        self, weight: float = 1.0, name: str | None = None, region: Region = "think", timeout: float | None = None
    ):
        super().__init__(weight, name, region, timeout)

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        """The score, or None if no grade is known, or asked for."""
        truth = example.grades
        if not truth or "intensity" not in answer.numbers:
            return None
        if not has_thinking(answer):
            return 0.0
        told = told_grades(answer, example.coded)
        units = [unit for unit in sorted(truth) if truth[unit] or told.get(unit)]
        return fmean(1 - abs(told.get(unit, 0.0) - truth[unit]) / 5 for unit in units) if units else 1.0
