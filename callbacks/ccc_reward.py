"""What an answer adds to the concordance of valence and arousal over the recent answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fea.errors import FEAError
from fea.evaluation.dimensional import Moments, left_out
from fea.evaluation.numbers import number_sums
from fea.prompts.answer import Answer
from fea.prompts.numbers import AFFECT, Number, check_affect
from fea.rewards import Region, RewardCallback
from fea.rollouts.rollout import Rollout
from fea.system.processes import gathered


class CCCReward(RewardCallback):
    """The marginal contribution of an answer to CCC, over the answers of this rollout and of recent ones.

    Lin's concordance is the number that is reported. It is no mean over faces: to tell a smile from a grin counts, and
    always to say what is usual earns 0. So an answer earns, of valence and of arousal, whose mean this is,

        n * (CCC of all answers - CCC of all but this one)     n answers

    as `MacroF1Reward` has it for F1. That is the credit of one answer for what a batch earns as a whole (arXiv 2605.01402
    rewards batches; leaving one out is our reading of it). The mean over all answers is near 0 whatever they say:
    `rollout/ccc_valence` in the log tells how it goes, and not `reward/CCCReward`.

    Sums are kept, of all processes, and those of older rollouts fade: 16 faces alone tell little of a spread. What was asked
    for and cannot be read counts as 0. Answers that are not trained on earn what they would add.

    Where answers about a face hardly differ, `model.objective.scale: group` blows their spread up to 1, and faces that tell
    much weigh no more than others: set `scale` to none or batch.

    Args:
        of: "valence", "arousal" or both.
        half_life: labeled faces after which an answer counts half; 0: the answers of one rollout alone.
        weight: factor in the total reward.
        name: name in the logs; by default the name of the class.
        region: the tokens that it credits.

    Raises:
        FEAError: there is no such dimension, or the half-life is negative.
    """

    def __init__(
        self,
        of: Sequence[Number] = AFFECT,
        half_life: float = 320.0,
        weight: float = 1.0,
        name: str | None = None,
        region: Region = "all",
    ):
        super().__init__(weight, name, region)
        if not 0 <= half_life < float("inf"):
            raise FEAError(f"CCCReward.half_life: {half_life}; give a number of faces from 0 up")
        self.of, self.half_life = check_affect("CCCReward.of", of), half_life
        self.sums: Moments | None = None  # (2,) of valence and arousal
        self.latest: list[Answer] = []  # those that were added last

    def on_answers(self, rollout: Rollout) -> None:
        """Adds the answers of a rollout, of all processes, and lets older ones fade."""
        parts = gathered(_whole(self._rows(rollout)))
        fresh = Moments(*(np.asarray(sum(part)) for part in zip(*parts, strict=True)))
        if self.sums is not None and self.half_life:
            fade = 0.5 ** (fresh.n / rollout.group / self.half_life)
            fresh = Moments(*(now + fade * before for now, before in zip(fresh, self.sums, strict=True)))
        self.sums, self.latest = fresh, rollout.answers

    def rewards(self, rollout: Rollout) -> Tensor:
        """(B, G) what each answer adds, or would add if it is none of those added last; NaN where no label says."""
        rows = self._rows(rollout)
        sums = _whole(rows) if self.sums is None else self.sums
        worth_N2 = left_out(sums, rows, self.sums is None or rollout.answers is self.latest)
        worth_N2 = np.where(rows.n > 0, worth_N2, np.nan)[:, [AFFECT.index(name) for name in self.of]]
        known = ~np.isnan(worth_N2)
        mean_N = np.where(known, worth_N2, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        return torch.from_numpy(np.where(known.any(axis=1), mean_N, np.nan)).view(-1, rollout.group)

    def _rows(self, rollout: Rollout) -> Moments:
        examples = [prompt.example for prompt in rollout.prompts for _ in range(rollout.group)]
        return number_sums(examples, [[answer] for answer in rollout.answers]).affect

    def state_dict(self) -> dict[str, Any]:
        """The sums, which are those of all processes on each of them."""
        return {"sums": None if self.sums is None else [part.tolist() for part in self.sums]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on adding."""
        self.sums = None if state["sums"] is None else Moments(*map(np.array, state["sums"]))


def _whole(rows: Moments) -> Moments:
    return Moments(*(np.asarray(part.sum(axis=0)) for part in rows))
