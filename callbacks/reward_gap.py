"""Does the reward of training carry over to greedy answers about faces that are not trained on."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from fea.rewards import rewards_of, scored
from fea.rollouts.loader import RolloutCallback
from fea.rollouts.rollout import Rollout
from fea.system.processes import gathered, rank


class RewardGap(RolloutCallback):
    """Logs at each validation the total reward of its answers, and how far that of training rollouts is above it.

    A gap that grows tells of a policy that learns its training faces, or its rewards, by heart.

    `val/reward` is the mean over validation faces, `val/reward_gap` the mean over the completions since the last validation
    less that; both over all processes.
    """

    def __init__(self) -> None:
        self.earned = (0.0, 0)  # sum and number of the rewards of completions, in this process
        self.answered = (0.0, 0)  # sum and number of the rewards of validation answers

    def on_rollout(
        self, trainer: Trainer, module: LightningModule, rollout: Rollout, rewards: dict[str, Tensor]
    ) -> None:
        """Adds the rewards of a rollout."""
        weights = {reward.name: reward.weight for reward in rewards_of(trainer)}
        total_BG = torch.stack([weights[name] * scores.nan_to_num() for name, scores in rewards.items()]).sum(dim=0)
        self.earned = self.earned[0] + float(total_BG.sum()), self.earned[1] + total_BG.numel()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Adds the rewards of a batch of answers."""
        if isinstance(outputs, Rollout) and trainer.state.fn == "fit":
            total_BG = scored(rewards_of(trainer), outputs).total_BG
            self.answered = self.answered[0] + float(total_BG.sum()), self.answered[1] + total_BG.numel()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs both, over all processes."""
        answered, earned = _pooled(self.answered), _pooled(self.earned)
        if answered[1]:
            pl_module.log("val/reward", answered[0] / answered[1])
            if earned[1]:
                pl_module.log("val/reward_gap", earned[0] / earned[1] - answered[0] / answered[1])
        self.earned = self.answered = (0.0, 0)

    def state_dict(self) -> dict[str, Any]:
        """What rollouts of all processes have earned since the last validation."""
        return {"earned": list(_pooled(self.earned))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on adding, in the first process for all of them."""
        self.earned = (state["earned"][0], state["earned"][1]) if rank() == 0 else (0.0, 0)


def _pooled(part: tuple[float, int]) -> tuple[float, int]:
    """Sum and number over all processes, each of which calls this."""
    sums, counts = zip(*gathered(part), strict=True)
    return sum(sums), sum(counts)
