"""R_acc: is the answered emotion right."""

from __future__ import annotations

from fea.data.example import Example
from fea.data.shares import check_power
from fea.evaluation.scores import emotion_match
from fea.prompts.answer import Answer
from fea.rewards import Region, RewardCallback


class EmotionReward(RewardCallback):
    """1 for a right emotion, else 0 (Facial-R1, arXiv 2511.10254v1); or corrected for how frequent each emotion is.

    With 1 and 0, whoever is not sure earns most with the most frequent emotion, so that rare ones are forgotten first. Let p_k
    be the share of the training faces, as they are drawn, for which k is right, and K the number of emotions that occur. The
    answer k earns

        corrected     w_k ([k is right] - p_k)          w_k = 1 / (K p_k)^balance
        otherwise     w_k  [k is right]

    Corrected, what does not depend on the face earns 0 on average, with every emotion: its share of right answers is just what
    it costs. Balanced in full the mean is the unweighted average recall less 1 / K, where each face has one label, since a
    class of n of N faces gives its right answers N / (K n); by 0.5, the square root, it lies between this and accuracy. An
    answer that can never be right (it is unreadable, not allowed, or no drawn face has it) earns what the dearest wrong one
    does, -max w_k p_k, so that it is no way around a wrong one.

    Shares are those of the faces with the same allowed emotions, which the prompt lists. Where a group's standard deviation
    divides advantages (`model.objective.scale: group`), groups of all faces are of one size again: what is left of the weights
    is which answer to the same face is preferred. To let rare faces count more, set `scale` to batch or none.

    It credits all tokens, since the thinking causes the answer; `region: answer` would be biased.

    Args:
        weight: factor in the total reward.
        name: name in the logs; by default the name of the class.
        region: the tokens that it credits.
        timeout: seconds that a call may take; null for any.
        corrected: subtract what guessing earns.
        balance: power, from 0 to 1, by which a rare emotion is worth more; the higher, the more a few answers decide.

    Raises:
        FEAError: the power is not in this range.
    """

    def __init__(
        self,
        weight: float = 1.0,
        name: str | None = None,
        region: Region = "all",
        timeout: float | None = None,
        corrected: bool = False,
        balance: float = 0.0,
    ):
        super().__init__(weight, name, region, timeout)
        self.corrected, self.balance = corrected, check_power("EmotionReward.balance", balance)

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        """The score, or None if the emotion is unknown."""
        right = emotion_match(answer, example)
        if right is None or not (self.corrected or self.balance):
            return right
        shares = self.shares.emotions.get(example.emotions, {})
        worth: dict[str, float] = {word: (len(shares) * share) ** -self.balance for word, share in shares.items()}
        earned = right * worth.get(answer.emotion or "", 1.0)
        if not self.corrected:
            return earned
        costs = {word: share * worth[word] for word, share in shares.items()}
        return earned - costs.get(answer.emotion or "", max(costs.values(), default=0.0))
