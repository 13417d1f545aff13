"""Does the thinking carry the answer."""

from __future__ import annotations

from typing import cast

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from fea.errors import FEAError
from fea.evaluation.carried import carried_worth
from fea.grpo import GRPOModule
from fea.rewards import Region, RewardCallback, whole_groups
from fea.rollouts.consistency import carried
from fea.rollouts.rollout import Rollout
from fea.training.module import FEAModule


class ConsistencyReward(RewardCallback):
    """How likely the policy itself finds its answer when it is shown the thinking alone, and no image.

    An answer of E allowed emotions that has the likelihood q among them earns

        max(-1, 1 + log q / log E):      1 where the thinking leaves no doubt, 0 where it is worth no more than a guess

    It says nothing of what is right: beside rewards that do, it keeps a policy from answering by another way than it tells.
    The likelihood is that of the policy as it is now (`fea.rollouts.consistency`); no gradient goes through it. There is none
    of an answer that cannot be read, that was to stand alone, or that has no thinking: this reward then says nothing of it,
    and `FormatReward` beside it does. Where advantages are made of sums (`advantage: sum_then_normalize`), it says nothing of
    all answers about that face.

    A policy that never sees a prompt without an image is a poor judge, and moves as it is trained: with a tiny model on drawn
    faces the share of answers that evidence carries rose in two of three seeds, that of whole thinkings in none (RESULTS.md).
    Watch `fea.callbacks.Consistency` beside it.

    Args:
        weight: factor in the total reward.
        name: name in the logs; by default the name of the class.
        region: the tokens that it credits; by default those up to the end of the think block.
        evidence: leave out the sentences of the thinking that name an emotion. Else the cheapest way to earn is to write the
            answer into the thinking, which most analyses do anyway.
    """

    def __init__(self, weight: float = 1.0, name: str | None = None, region: Region = "think", evidence: bool = True):
        super().__init__(weight, name, region)
        self.evidence = evidence
        self.module: FEAModule | None = None
        self.summed = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remembers who is asked.

        Raises:
            FEAError: the weights are sharded, whose processes would wait for each other.
        """
        super().setup(trainer, pl_module, stage)
        self.module = cast(FEAModule, pl_module)
        self.summed = isinstance(pl_module, GRPOModule) and pl_module.objective.advantage == "sum_then_normalize"
        if self.module.device_mesh is not None:
            raise FEAError(
                f"reward '{self.name}': it asks the policy of each process by itself, whose weights are sharded; use "
                "trainer.strategy ddp, or take it out of trainer.callbacks"
            )

    def rewards(self, rollout: Rollout) -> Tensor:
        """(B, G), from -1 to 1; NaN where there is nothing to carry, or nothing that carries.

        Raises:
            FEAError: it is asked outside of a trainer, whose policy it would ask.
        """
        if self.module is None:
            raise FEAError(
                f"reward '{self.name}': it asks the policy of a module; list it under trainer.callbacks, or call its "
                "setup(trainer, module, 'fit') first"
            )
        with self.module.sampling():
            likelihoods = carried(self.module.policy, rollout, self.evidence)
        worth = [carried_worth(answer.emotion, q) for answer, q in zip(rollout.answers, likelihoods, strict=True)]
        scores_BG = torch.tensor([torch.nan if score is None else score for score in worth]).view(-1, rollout.group)
        return whole_groups(scores_BG) if self.summed else scores_BG
