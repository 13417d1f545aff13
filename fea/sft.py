"""Stage 1: supervised fine-tuning on analyses. The loss covers the answer's tokens and nothing else."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from fea.data.loader import Encode
from fea.data.prompt import Prompt, targets
from fea.losses import mean_nll
from fea.model.config import PolicyConfig
from fea.model.sampling import Generation
from fea.system.processes import total
from fea.training.module import FEAModule
from fea.training.optimization import Optimization


class SFTModule(FEAModule):
    """Cross-entropy on the tokens of each analysis, averaged over its tokens, then over analyses.

    Averaging per analysis makes the gradient the same however a batch is split over accumulation and processes.

    Args:
        policy: the model and what it is shown.
        init_from: run (folder or checkpoint) whose weights this one starts from; null: the base's own.
        generation: how answers are written in validation and test.
        optimization: optimizer and learning rate.
    """

    needs_analyses = True

    def __init__(
        self,
        policy: PolicyConfig = PolicyConfig(),  # noqa: B008 (read, never changed)
        init_from: str | None = None,
        generation: Generation = Generation(),  # noqa: B008
        optimization: Optimization = Optimization(),  # noqa: B008
    ):
        super().__init__(policy, init_from, generation, optimization)

    @property
    def encode_training(self) -> Encode:
        """Makes prompts with their analyses."""
        return partial(self.policy.encoder, with_target=True)

    def training_step(self, batch: list[Prompt], index: int) -> Tensor:
        """Mean negative log-likelihood of a batch's analyses, in nats per token."""
        ids, mask = targets(batch)
        logps, entropies = self.policy.logps(batch, ids, mask)
        loss = mean_nll(logps, mask)
        sums = torch.stack([loss * len(batch), entropies.sum(), mask.sum(), mask.new_tensor(len(batch))])
        losses, entropy, tokens, analyses = total(sums)
        self.log("train/loss", losses / analyses, prog_bar=True, batch_size=len(batch))
        self.log("train/entropy", entropy / tokens, batch_size=len(batch))
        return loss
