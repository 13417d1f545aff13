"""What a policy prefers in pairs, as a metric of torchmetrics: its states are sums over pairs, which processes add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from fea.data.example import Example
from fea.evaluation.hallucination import SHARES, count_invented
from fea.prompts.answer import Answer


class PairScores(Metric):
    """How often what is chosen is preferred to what is rejected, and by how much.

    Args:
        sides: of a pair that are compared, such as "response", "image" and "question".
    """

    sums: Tensor

    def __init__(self, sides: tuple[str, ...]) -> None:
        super().__init__()
        self.sides = sides
        # A row a side, and two more: the chosen text's own reward, and whether its image makes it more likely.
        self.add_state("sums", torch.zeros(len(sides) + 2, 3, dtype=torch.float32), dist_reduce_fx="sum")

    def update(self, margins: Mapping[Any, Tensor], chosen_P: Tensor, seen_P: Tensor) -> None:
        """Counts pairs; NaN for what a pair does not have.

        Args:
            margins: by side, how much more what is chosen is preferred, (P,).
            chosen_P: the implicit reward of what is chosen.
            seen_P: nats by which its own image makes it more likely than the rejected one.
        """
        rows = torch.stack([*(margins[side] for side in self.sides), chosen_P, seen_P]).detach().to(self.sums)
        there = ~rows.isnan()
        self.sums += torch.stack([there.sum(dim=1), (rows > 0).sum(dim=1), rows.nan_to_num().sum(dim=1)], dim=1)

    def compute(self) -> dict[str, Tensor]:
        """The numbers by name; those that no pair speaks about are left out.

        SIDE_accuracy: share of pairs in which what is chosen is preferred.
        SIDE_margin: mean difference of implicit rewards.
        drift: mean implicit reward of what is chosen; below 0 it has become less likely than under the reference.
        image_sensitivity: share of pairs in which a text is more likely behind its own image than behind the rejected one.
        """
        count, right, total = self.sums.unbind(dim=1)
        numbers: dict[str, Tensor] = {}
        for row, side in enumerate(self.sides):
            if count[row]:
                numbers[f"{side}_accuracy"], numbers[f"{side}_margin"] = (
                    right[row] / count[row],
                    total[row] / count[row],
                )
        if count[-2]:
            numbers["drift"] = total[-2] / count[-2]
        if count[-1]:
            numbers["image_sensitivity"] = right[-1] / count[-1]
        return numbers


class InventedScores(Metric):
    """How much of what answers claim is invented; the numbers are the shares of `hallucination.count_invented`."""

    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(len(SHARES), 2), dist_reduce_fx="sum")

    def update(self, answers: Sequence[Answer], examples: Sequence[Example]) -> None:
        """Counts answers, each with its example."""
        counts = count_invented(examples, [[answer] for answer in answers])
        self.sums += torch.tensor([counts[name].sum(axis=0).tolist() for name in SHARES]).to(self.sums)

    def compute(self) -> dict[str, Tensor]:
        """The numbers by name; those of which there is nothing are left out."""
        return {name: counted / of for name, (counted, of) in zip(SHARES, self.sums, strict=True) if of}
