"""What stands in for pretraining in the demo: a vision tower that can tell facial movements apart.

A pretrained vision-language model brings such a tower along; the tiny one has to learn to see first. Its captions, in plain
words and without codes, are then taught like any analyses, by `SFTModule`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fea.data.prompt import Prompt
from fea.drawn.drawing import DRAWN_AUS
from fea.errors import FEAError
from fea.model.config import PolicyConfig
from fea.model.sampling import Generation
from fea.training.module import FEAModule
from fea.training.optimization import Optimization


class TowerModule(FEAModule):
    """Trains the vision tower alone: a linear map of all its visual tokens says which movements a face shows.

    Args:
        policy: the model; min_pixels and max_pixels have to be equal, so that every face has the same number of tokens.
        init_from: run whose weights this one starts from; null: random weights.
        generation: not used in training.
        optimization: optimizer and learning rate.
    """

    def __init__(
        self,
        policy: PolicyConfig = PolicyConfig(train_vision=True),  # noqa: B008 (read, never changed)
        init_from: str | None = None,
        generation: Generation = Generation(),  # noqa: B008
        optimization: Optimization = Optimization(),  # noqa: B008
    ):
        super().__init__(policy, init_from, generation, optimization)
        if not policy.train_vision or policy.min_pixels != policy.max_pixels:
            raise FEAError("policy: TowerModule needs train_vision: true, and min_pixels equal to max_pixels")

    def configure_model(self) -> None:
        """Builds the policy and freezes all of it but the tower."""
        super().configure_model()
        self.policy.requires_grad_(False)
        self.policy.network.vision_tower.requires_grad_(True)
        network = self.policy.network
        visual_tokens = self.config.max_pixels // network.family.pixels
        self.head = nn.Linear(visual_tokens * network.width, len(DRAWN_AUS))

    def training_step(self, batch: list[Prompt], index: int) -> Tensor:
        """Binary cross-entropy over the movements, in nats."""
        shown = torch.tensor(
            [[float(n in prompt.example.present) for n in DRAWN_AUS] for prompt in batch], device=self.device
        )
        loss = F.binary_cross_entropy_with_logits(
            self.head(torch.stack([seen.tokens for seen in self.policy.network.features(batch)]).flatten(1)), shown
        )
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch))
        return loss
