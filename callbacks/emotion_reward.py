"""R_acc: is the answered emotion right."""

from __future__ import annotations

from fea.data.example import Example
from fea.evaluation.scores import emotion_match
from fea.prompts.answer import Answer
from fea.rewards import RewardCallback


class EmotionReward(RewardCallback):
    """1 for a right emotion, else 0 (Facial-R1, arXiv 2511.10254v1).

    It credits all tokens, since the thinking causes the answer; `region: answer` would be biased.
    """

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        """The score, or None if the emotion is unknown."""
        return emotion_match(answer, example)
