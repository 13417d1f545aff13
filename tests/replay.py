"""GRPO with SGD on completions that were sampled once and kept: whatever differs then, differs in the arithmetic."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from fea.data.prompt import Prompt
from fea.grpo import GRPOModule
from fea.model.sampling import Completions
from fea.rollouts.loader import drawn_before
from fea.rollouts.rollout import Rollout, parse_all

PLACE = "FEA_TEST_REPLAY"  # folder of the completions; they are written if they are not there yet
RATE = 0.05


class Replayed(GRPOModule):
    """Samples as ever, and goes on with what is kept. A third of the vocabulary ends a completion: lengths differ."""

    def configure_model(self) -> None:
        super().configure_model()
        self.policy.network.ends = list(range(100, 360))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=RATE)

    def _sample(self, prompts: Sequence[Prompt], round: int, drawn: Sequence[int] | None = None) -> Rollout:
        rollout = super()._sample(prompts, round, drawn)
        group, found = rollout.group, rollout.completions
        kept, ids = [], [prompt.example.id for prompt in prompts]
        for number, (id, times) in enumerate(zip(ids, drawn_before(ids) if drawn is None else drawn, strict=True)):
            rows = slice(number * group, (number + 1) * group)
            file = Path(os.environ[PLACE]) / f"{round}-{blake2b(id.encode()).hexdigest()[:16]}-{times}.pt"
            if not file.exists():
                torch.save([part[rows] for part in found], file)
            kept.append(torch.load(file, weights_only=True))
            if round == 0 and self.trainer.precision == "32-true":  # the weights are the same, and so are the tokens
                width = min(found.ids.shape[1], kept[-1][0].shape[1])
                assert torch.equal(found.ids[rows, :width], kept[-1][0][:, :width])
        columns = [_rows([part[column] for part in kept]) for column in range(4)]
        texts = [text for part in kept for text in part[4]]
        return Rollout(prompts, group, Completions(*columns, texts), parse_all(texts, prompts))


def _rows(parts: list[torch.Tensor]) -> torch.Tensor:
    if parts[0].dim() == 1:
        return torch.cat(parts)
    return pad_sequence([row for part in parts for row in part], batch_first=True)
