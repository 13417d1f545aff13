"""Preference pairs in the order in which a policy reads them, and what it prefers in them.

The prompts of a pair stand next to each other: the chosen one with both texts, then those with the rejected image and the
rejected question, which have the chosen text alone. Two texts a prompt, the second one empty where there is none:

    prompt    v, x     v', x    v, x'   | v, x     v', x      ..
    texts     y, y'    y, -     y, -    | y, y'    y, -       ..

So one tree holds them all, [knowledge | v,x: {y, y'} | v',x: {y} | v,x': {y}], and what is alike is read once.

Shapes in names: V prompts of all pairs, N = 2 V texts, T tokens of a text, P pairs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fea.data.mixture import Examples
from fea.data.prompt import Prompt
from fea.losses import anchor_loss, implicit_reward, preference_loss
from fea.model.policy import Policy
from fea.training.preferring import Term


class Sums(NamedTuple):
    """Log-probabilities of texts, summed over their tokens.

    Attributes:
        whole_V2: of the chosen and of the rejected text behind each prompt; 0 where there is no text.
        apart_V2: from the first token on in which the two texts differ. What is before it is the same in both: there, a
            difference of sums is 0, and so is its gradient, exactly.
    """

    whole_V2: Tensor
    apart_V2: Tensor


class Rewards(NamedTuple):
    """What a policy prefers texts by, in each pair; NaN where a pair has no such part.

    Attributes:
        chosen_P: h(y | v, x).
        response_P2: h from where the texts differ, of the chosen and of the rejected text.
        image_P: h(y | v', x).
        question_P: h(y | v, x').
        seen_P: log pi(y | v, x) - log pi(y | v', x), in nats.
    """

    chosen_P: Tensor
    response_P2: Tensor
    image_P: Tensor
    question_P: Tensor
    seen_P: Tensor

    @property
    def margins(self) -> dict[Term, Tensor]:
        """By term, how much more what is chosen is preferred than what is rejected; NaN where there is no such part."""
        return {
            "response": self.response_P2[:, 0] - self.response_P2[:, 1],
            "image": self.chosen_P - self.image_P,
            "question": self.chosen_P - self.question_P,
        }


def sums(policy: Policy, prompts: Sequence[Prompt]) -> Sums:
    """Reads prompts of pairs in one pass.

    Args:
        policy: in training or not.
        prompts: whole pairs, on its device.
    """
    texts = [text for prompt in prompts for text in (prompt.target, prompt.rejected)]
    ids_NT = pad_sequence(texts, batch_first=True)
    mask_NT = pad_sequence([torch.ones_like(text) for text in texts], batch_first=True)
    if policy.config.layout == "rows":  # each text has a prompt of its own: none is read for an empty one
        there_N = mask_NT.any(dim=1)
        asked = [prompt for prompt in prompts for _ in range(2)]
        shown = [prompt for prompt, there in zip(asked, there_N.tolist(), strict=True) if there]
        found = policy.logps(shown, ids_NT[there_N], mask_NT[there_N])[0]
        logps_NT = found.new_zeros(mask_NT.shape).index_put((there_N.nonzero()[:, 0],), found)
    else:
        logps_NT = policy.logps(prompts, ids_NT, mask_NT)[0]
    same_V = torch.tensor([_same(prompt) for prompt in prompts], device=ids_NT.device)
    apart_T = torch.arange(ids_NT.shape[1], device=ids_NT.device)
    apart_NT = apart_T >= same_V.repeat_interleave(2)[:, None]
    return Sums(logps_NT.sum(dim=1).view(-1, 2), torch.where(apart_NT, logps_NT, 0.0).sum(dim=1).view(-1, 2))


def _same(prompt: Prompt) -> int:
    """Tokens that both texts of a prompt begin with."""
    shorter = min(len(prompt.target), len(prompt.rejected))
    differs = (prompt.target[:shorter] != prompt.rejected[:shorter]).nonzero()
    return int(differs[0, 0]) if len(differs) else shorter


def rewards(prompts: Sequence[Prompt], policy: Sums, reference: Sums, beta: float) -> Rewards:
    """What the policy prefers texts by in comparison with the reference.

    Args:
        prompts: whole pairs.
        policy: what it reads in them.
        reference: what the reference policy does.
        beta: as in `fea.losses.implicit_reward`.
    """
    whole_V = implicit_reward(policy.whole_V2, reference.whole_V2, beta)[:, 0]
    apart_V2 = implicit_reward(policy.apart_V2, reference.apart_V2, beta)
    pair_of = torch.tensor([prompt.side == "chosen" for prompt in prompts]).cumsum(dim=0) - 1
    pairs = int(pair_of[-1]) + 1

    def of(side: str, values_V: Tensor) -> Tensor:
        """By pair, the value of its prompt of a side; NaN without one."""
        at = [number for number, prompt in enumerate(prompts) if prompt.side == side]
        empty_P = values_V.new_full((pairs, *values_V.shape[1:]), torch.nan)
        return empty_P.index_put((pair_of[at].to(values_V.device),), values_V[at])

    answered_V1 = torch.tensor([bool(len(prompt.rejected)) for prompt in prompts], device=whole_V.device)[:, None]
    logps_V = policy.whole_V2[:, 0].detach()
    return Rewards(
        chosen_P=of("chosen", whole_V),
        response_P2=of("chosen", torch.where(answered_V1, apart_V2, torch.nan)),
        image_P=of("image", whole_V),
        question_P=of("question", whole_V),
        seen_P=of("chosen", logps_V) - of("image", logps_V),
    )


def losses(found: Rewards, least: float) -> dict[Term, Tensor]:
    """By term, the loss of each pair that has its parts."""
    by_term: dict[Term, Tensor] = {"response": preference_loss(*_both(*found.response_P2.unbind(dim=1)))}
    by_term["image"] = preference_loss(*_both(found.chosen_P, found.image_P))
    by_term["question"] = preference_loss(*_both(found.chosen_P, found.question_P))
    by_term["anchor"] = anchor_loss(found.chosen_P, least)
    return by_term


def _both(chosen_P: Tensor, rejected_P: Tensor) -> tuple[Tensor, Tensor]:
    """Those of the pairs that have both. They are left out before a loss: a NaN would go through its backward pass."""
    there_P = ~rejected_P.isnan()
    return chosen_P[there_P], rejected_P[there_P]


def shares(examples: Examples, drawn: Tensor | None, crops: bool) -> dict[Term, float]:
    """By term, the share of the pairs that have its parts.

    Args:
        examples: preference pairs.
        drawn: how often each is drawn; None for all alike.
        crops: whether every pair has a rejected image: a part of its own.
    """
    told = [json.loads(str(text)) for text in examples.values("rejected")]
    weights = torch.ones(len(told)) if drawn is None else drawn
    parts: dict[Term, str] = {"response": "description", "image": "image", "question": "question"}
    has = {
        term: torch.tensor([part in pair or (crops and part == "image") for pair in told])
        for term, part in parts.items()
    }
    return {term: float((weights * there).sum() / weights.sum()) for term, there in has.items()} | {"anchor": 1.0}


def pairs_of(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """The prompts of each pair."""
    pairs: list[list[Prompt]] = []
    for prompt in prompts:
        if prompt.side == "chosen":
            pairs.append([])
        pairs[-1].append(prompt)
    return pairs
