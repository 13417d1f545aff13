"""What an answer adds to the macro F1 over the recent answers."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fea.errors import FEAError
from fea.evaluation.counts import NUMBERS
from fea.evaluation.marginal import ClassCounts, Kind, class_counts, marginal
from fea.prompts.answer import Answer
from fea.rewards import Region, RewardCallback
from fea.rollouts.rollout import Rollout
from fea.system.processes import gathered


class MacroF1Reward(RewardCallback):
    """The marginal contribution of an answer to macro F1, over the answers of this rollout and of recent ones.

    The number that is reported is the mean of the F1 of every class, over all faces together. It is no mean over faces, so no
    reward of a face by itself is aligned with it: the F1 of a face pays for leaving out what is unsure, and that is what is
    rare. Here counts of hits, claims and labels of each class are kept, and an answer earns

        n * (macro F1 of the counts with it - macro F1 of the counts without it),     n answers in the counts

    To first order in 1 / n that is, with F1_u = 2 hits_u / (claimed_u + present_u) over C classes,

        n / C * sum over u of  (2 hit_u - F1_u (claim_u + label_u)) / (claimed_u + present_u)

    So a claim pays if P(u is there) > F1_u / 2, which for what is named badly is little, and is worth 1 / (claimed_u +
    present_u): the rarer, the more, about 1 / (C * share) where claims are as frequent as labels. Claims of what no face in the
    counts shows are free, as they are for the number. The mean over all answers is near 0 whatever they say, since F1 is the
    same if all counts grow alike: `reward/NAME` in the log tells nothing, `rollout/au_f1` and `rollout/emotion_f1` do.

    One rollout holds few faces of a rare class, or none; so counts are kept, and those of older rollouts fade. They are of all
    processes, and of the faces as they are drawn: with `data.balance`, of more even ones than those that are validated on.

    An unreadable answer claims nothing. Units that were not coded for a face do not count. Answers that are not trained on, in
    validation, earn what they would add.

    `model.objective.scale: group` makes groups of all faces one size again: what is left is which answer to the same face
    adds more. To let answers about rare classes count more, set `scale` to batch or none.

    Args:
        of: "emotion" or "au".
        half_life: labeled faces after which an answer counts half. By 320, 20 rollouts of 16 faces, the counts hold about 460
            faces, five of a class of 1 %, and the policy of then is not far from that of now.
        weight: factor in the total reward.
        name: name in the logs; by default EmotionMacroF1 or AUMacroF1.
        region: the tokens that it credits; by default those up to the end of the think block for units, and all for emotions.

    Raises:
        FEAError: there is no such kind, or the half-life is not above 0.
    """

    def __init__(
        self,
        of: Kind,
        half_life: float = 320.0,
        weight: float = 1.0,
        name: str | None = None,
        region: Region | None = None,
    ):
        if of not in ("emotion", "au"):
            raise FEAError(f"MacroF1Reward.of: there is no kind '{of}'; use emotion or au")
        if not 0 < half_life < float("inf"):
            raise FEAError(f"MacroF1Reward.half_life: {half_life}; give a number of faces above 0")
        names: dict[str, tuple[str, Region]] = {"emotion": ("EmotionMacroF1", "all"), "au": ("AUMacroF1", "think")}
        super().__init__(weight, name or names[of][0], region or names[of][1])
        self.of, self.half_life = of, half_life
        self.sums: ClassCounts | None = None
        self.latest: list[Answer] = []  # those that were added last

    @property
    def classes(self) -> list[str]:
        """Names of the columns."""
        if self.of == "au":
            return [f"AU{number}" for number in range(NUMBERS)]
        if self.data is None:
            raise FEAError(
                f"reward '{self.name}': it counts the emotions that the data allow; list it under trainer.callbacks, or call "
                "its setup(trainer, module, 'fit') first"
            )
        return list(self.data.all_emotions)

    def on_answers(self, rollout: Rollout) -> None:
        """Adds the answers of a rollout, of all processes, and lets older ones fade."""
        first, *others = gathered(self._rows(rollout).sum())
        sums = reduce(ClassCounts.plus, others, first)
        faces = float(sums.answers) / rollout.group
        self.sums = sums if self.sums is None else sums.plus(self.sums, 0.5 ** (faces / self.half_life))
        self.latest = rollout.answers

    def rewards(self, rollout: Rollout) -> Tensor:
        """(B, G) what each answer adds, or would add if it is none of those added last; NaN where no label says."""
        rows, inside = self._rows(rollout), rollout.answers is self.latest
        worth = marginal(self.sums or rows.sum(), rows, inside or self.sums is None)
        return torch.from_numpy(np.where(rows.answers > 0, worth, np.nan)).view(-1, rollout.group)

    def _rows(self, rollout: Rollout) -> ClassCounts:
        examples = [prompt.example for prompt in rollout.prompts for _ in range(rollout.group)]
        return class_counts(self.of, examples, rollout.answers, self.classes)

    def state_dict(self) -> dict[str, Any]:
        """The counts, which are those of all processes on each of them."""
        if self.sums is None:
            return {"answers": 0.0, "classes": {}}
        columns = np.stack(self.sums[:3], axis=1).tolist()
        return {"answers": float(self.sums.answers), "classes": dict(zip(self.classes, columns, strict=True))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on counting."""
        hits, claimed, present = np.array([state["classes"].get(name, [0.0] * 3) for name in self.classes]).T
        self.sums = ClassCounts(hits, claimed, present, np.array(state["answers"])) if state["classes"] else None
