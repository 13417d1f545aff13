"""R_format: is the text exactly one think block and one answer block."""

from __future__ import annotations

from fea.data.example import Example
from fea.evaluation.scores import format_match
from fea.prompts.answer import Answer
from fea.rewards import RewardCallback


class FormatReward(RewardCallback):
    """1 for one non-empty think block followed by one non-empty answer block and nothing else, else 0.

    With `policy.answer: first` the answer block comes first, with "only" it stands alone.
    """

    def reward(self, answer: Answer, example: Example, text: str) -> float:
        """The score."""
        return format_match(answer)
