"""What GRPO maximizes: the base class of rewards, and the scores of all rewards of a rollout.

What one answer is worth is told in `fea.evaluation.scores`; a reward that does not apply is neither added nor normalized with.
Source: Facial-R1, arXiv 2511.10254v1, "Reinforcement learning": R = R_AU + R_acc + R_format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from fea.data.example import Example
from fea.errors import FEAError
from fea.prompts.answer import Answer
from fea.rollouts.rollout import Rollout, Scores

if TYPE_CHECKING:
    import lightning.pytorch as L

Region = Literal["all", "think", "answer"]


class RewardCallback(Callback):
    """Base class of rewards: list one under `trainer.callbacks` and GRPO maximizes it.

    Write `reward`, for one answer at a time; or `rewards`, for a whole rollout.

    Args:
        weight: factor in the total reward.
        name: name in the logs; by default the name of the class.
        region: the tokens that the reward credits under `advantage: normalize_then_sum`: "all"; "think" for those up to the
            end of the think block, since later ones cannot have caused what that block earned; "answer" for those after it,
            which is biased, since the thinking causes the answer.
    """

    def __init__(self, weight: float = 1.0, name: str | None = None, region: Region = "all"):
        self.weight, self.name, self.region = weight, name or type(self).__name__, region

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        """Scores one answer.

        Args:
            answer: the parsed text.
            example: the face it is about, with all that is known of it.
            text: the text as the policy wrote it.

        Returns:
            The score, or None if the example says nothing about it. What applies to one answer of a face must apply to all.
        """
        raise FEAError(f"reward '{self.name}': {type(self).__name__} has to define reward(answer, example, text)")

    def rewards(self, rollout: Rollout) -> Tensor:
        """Scores a rollout: (B, G), NaN where the reward does not apply."""
        scores = [
            self.reward(answer, rollout.prompts[number // rollout.group].example, answer.text)
            for number, answer in enumerate(rollout.answers)
        ]
        return torch.tensor([torch.nan if score is None else float(score) for score in scores]).view(-1, rollout.group)

    @property
    def state_key(self) -> str:
        """Two rewards of one class keep their states apart by name."""
        return f"{type(self).__qualname__}[{self.name}]"


def rewards_of(trainer: L.Trainer) -> list[RewardCallback]:
    """The rewards among the trainer's callbacks, in their order.

    Raises:
        FEAError: there is none, or two have the same name.
    """
    found = [callback for callback in trainer.callbacks if isinstance(callback, RewardCallback)]  # type: ignore[attr-defined]
    if not found:
        raise FEAError(
            "trainer.callbacks: GRPO needs a reward; add one, such as fea.callbacks.EmotionReward, or your own RewardCallback"
        )
    names = [callback.name for callback in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise FEAError(f"trainer.callbacks: two rewards are named '{twice[0]}'; give one of them another 'name'")
    return found


def scored(callbacks: Sequence[RewardCallback], rollout: Rollout, device: torch.device | None = None) -> Scores:
    """Scores a rollout by all rewards.

    Args:
        callbacks: K rewards.
        rollout: of B prompts with G completions each.
        device: for the scores; None for the CPU.

    Args:
        callbacks: the K rewards.
        rollout: G answers to each of B prompts.

    Raises:
        FEAError: a reward's own `rewards` returns another shape than (B, G).
    """
    expected = (len(rollout.prompts), rollout.group)
    columns = []
    for callback in callbacks:
        rewards_BG = callback.rewards(rollout)
        if rewards_BG.shape != expected:
            raise FEAError(
                f"reward '{callback.name}': rewards(rollout) returned shape {tuple(rewards_BG.shape)}, expected {expected}"
            )
        columns.append(rewards_BG.float().cpu())
    weights_K = torch.tensor([callback.weight for callback in callbacks], device=device)
    names = [callback.name for callback in callbacks]
    regions = [str(callback.region) for callback in callbacks]
    return Scores(torch.stack(columns, dim=-1).to(weights_K.device), weights_K, names, regions)
