"""From a batch of prompts to the packs of its update: the records that are handed over, and the loader that serves them.

A group is one prompt with its completions. It is never shuffled apart and never split across packs or processes, so that
advantages need no communication and the prompt can be shared.

Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from fea.data.prompt import Prompt
from fea.model.decoding import Trunk
from fea.model.policy import Policy
from fea.model.sampling import Completions, Generation
from fea.prompts.answer import Answer, parse

if TYPE_CHECKING:
    pass


class Rollout(NamedTuple):
    """What the policy wrote about a batch of prompts; rewards and callbacks read it.

    Attributes:
        prompts: B prompts.
        group: completions of each.
        completions: N completions, those of one prompt next to each other.
        answers: the same, parsed.
    """

    prompts: Sequence[Prompt]
    group: int
    completions: Completions
    answers: list[Answer]

    @property
    def by_prompt(self) -> list[list[Answer]]:
        """The answers of each prompt."""
        return [self.answers[start : start + self.group] for start in range(0, len(self.answers), self.group)]

    def rows(self, groups: Sequence[int]) -> Tensor:
        """Numbers of the completions that belong to these groups."""
        return rows_of(groups, self.group, self.completions.ids.device)

    def regions(self, tokens_until: Callable[[Tensor, int], int]) -> dict[str, Tensor]:
        """First token and end of each region of each completion; without a closed think block all of it is thinking.

        Args:
            tokens_until: how many of given ids it takes to write so many characters.

        Returns:
            By region an (N, 2) tensor.
        """
        lengths_N = self.completions.mask.sum(dim=1).cpu()
        thinks = [
            tokens_until(ids[:length], answer.think_span[1]) if answer.think_span else length
            for ids, length, answer in zip(self.completions.ids.cpu(), lengths_N.tolist(), self.answers, strict=True)
        ]
        think_N, start_N = torch.tensor(thinks), torch.zeros_like(lengths_N)
        spans = {"all": (start_N, lengths_N), "think": (start_N, think_N), "answer": (think_N, lengths_N)}
        return {region: torch.stack(span, dim=1) for region, span in spans.items()}


class Scores(NamedTuple):
    """What a rollout earned. K rewards.

    Attributes:
        rewards_BGK: score of each completion by each reward; NaN where one does not apply.
        weights_K: factors in the total.
        names: of the rewards.
        regions: that they credit.
    """

    rewards_BGK: Tensor
    weights_K: Tensor
    names: list[str]
    regions: list[str]

    @property
    def by_name(self) -> dict[str, Tensor]:
        """By name of a reward, its scores: (B, G)."""
        return dict(zip(self.names, self.rewards_BGK.unbind(dim=-1), strict=True))

    @property
    def total_BG(self) -> Tensor:
        """The weighted sum; what does not apply adds nothing."""
        return (self.rewards_BGK.nan_to_num() * self.weights_K).sum(dim=-1)


def ask(
    policy: Policy,
    prompts: Sequence[Prompt],
    group: int,
    generation: Generation,
    noise_NT: Tensor | None = None,
    trunk: Trunk | None = None,
) -> Rollout:
    """Asks a policy: the one way to get answers from it, for rewards, metrics, synthesis and use alike.

    Args:
        policy: in eval mode.
        prompts: B prompts, on its device.
        group: completions of each.
        generation: length limit and temperature.
        noise_NT: uniform numbers that choose the tokens; None for greedy answers.
        trunk: what earlier batches have read already, if the weights are still the same.
    """
    completions = policy.rollout(prompts, group, generation, noise_NT, trunk)
    return Rollout(prompts, group, completions, parse_all(completions.texts, prompts))


def parse_all(texts: Sequence[str], prompts: Sequence[Prompt]) -> list[Answer]:
    """Reads texts that answer prompts; several texts of a prompt stand next to each other."""
    group = len(texts) // len(prompts)
    return [parse(text, prompts[number // group].example.emotions) for number, text in enumerate(texts)]


def rows_of(groups: Sequence[int], group: int, device: torch.device) -> Tensor:
    """Numbers of the completions of some groups, each of `group` completions."""
    return torch.tensor([number * group + i for number in groups for i in range(group)], device=device)
