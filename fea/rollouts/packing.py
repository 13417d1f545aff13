"""How the groups of a rollout are spread over packs, and what each token weighs in the loss of its optimizer step.

A rollout is used for `steps` optimizer steps an epoch, each of `packs` packs. A pack is whole groups that go through the model
together. Weights of an optimizer step add up to its mean over all its packs and processes, so packing changes nothing but time
and memory. Eight groups for two steps of two packs:

    groups     0   1   2   3     4   5   6   7
    tokens    90  60  50  40    30   -  70  20         -: scores the same throughout, left out
    step       0   0   0   0     1   1   1   1         fixed, so that the mean of a step is known beforehand
    packs     [0, 3]  [1, 2]    [6]     [4, 7]         about equally many tokens: the largest first, into the lightest pack

Shapes in names: B prompts, N completions, T tokens of a completion.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fea.errors import FEAError
from fea.losses import Normalizer, token_weights

Total = Callable[[Tensor], Tensor]  # sums a number over all processes


class Packing:
    """The split of one rollout.

    Args:
        prompts: of the rollout, a multiple of `steps`.
        group: completions of each.
        steps: optimizer steps an epoch over the rollout.
        packs: packs of an optimizer step.
        copies: of a prompt in the layout of the rows: 1 if its completions share it.

    Raises:
        FEAError: the groups cannot be spread evenly.
    """

    def __init__(self, prompts: int, group: int, steps: int, packs: int, copies: int = 1):
        if prompts % (steps * packs):
            raise FEAError(
                f"data.batch_size: {prompts} prompts a rollout do not split into {steps * packs} packs of whole groups "
                f"(model.minibatches {steps} x trainer.accumulate_grad_batches {packs}); use a multiple of {steps * packs}"
            )
        self.group, self.packs, self.copies = group, packs, copies
        size = prompts // steps
        self.steps = [range(step * size, (step + 1) * size) for step in range(steps)]

    def tokens(self, prompt: int, written: int) -> int:
        """Tokens that a group costs, from those of its prompt and those that its completions hold together."""
        return self.copies * prompt + written

    def advice(self, prompt: int, completion: int, limit: int, parts: int = 1) -> str | None:
        """What to change if an update may hold more tokens at a time than `limit`; None if it cannot.

        Args:
            prompt: most tokens of a prompt.
            completion: most tokens of a completion.
            limit: tokens that memory is known to hold.
            parts: that the completions of a group are split into.
        """
        groups = len(self.steps[0])

        def held(packs: int, parts: int) -> int:
            some = -(-self.group // parts)  # completions of a group at a time
            return groups // packs * (min(self.copies, some) * prompt + some * completion)

        most = held(self.packs, parts)
        if most <= limit:
            return None
        spread = [packs for packs in range(self.packs, groups + 1) if not groups % packs]  # with whole groups in each
        enough = [packs for packs in spread if held(packs, parts) <= limit]
        split = [more for more in range(parts, self.group + 1) if held(groups, more) <= limit]
        change = "lower model.group_size, model.generation.max_tokens or policy.max_pixels"
        if enough:
            change = f"set trainer.accumulate_grad_batches to {enough[0]}"
        elif split:
            change = f"set trainer.accumulate_grad_batches to {groups} and model.microbatches to {split[0]}"
        some = -(-self.group // parts)
        return (
            f"a pack can reach {most} tokens at a time ({groups // self.packs} groups of a prompt of {prompt} and {some} "
            f"completions of {completion}), more than {limit}; see `fea plan`, and if memory runs out, {change}"
        )

    def weights(self, counted_NT: Tensor, normalizer: Normalizer, limit: int, total: Total, processes: int) -> Tensor:
        """(N, T) weight of each token in the loss of its optimizer step.

        Args:
            counted_NT: 1 for the tokens that count. Groups that are dropped later count too.
            normalizer: as in `token_weights`.
            limit: longest possible completion.
            total: sums over processes.
            processes: number of them.
        """
        parts = []
        for groups in self.steps:
            counted = counted_NT[self._rows(groups)].float()
            tokens = int(total(counted.sum()))
            completions = len(groups) * self.group * processes
            parts.append(token_weights(counted, normalizer, completions, tokens, limit))
        return torch.cat(parts)

    def split(self, tokens: dict[int, int]) -> list[list[int]]:
        """Group numbers of each pack of the rollout; groups without an entry are left out.

        Args:
            tokens: by group number, its tokens.
        """
        packs = []
        for groups in self.steps:
            packs += balanced({group: tokens[group] for group in groups if group in tokens}, self.packs)
        return packs

    def signal(self, lessons_N: Tensor, total: Total) -> list[bool]:
        """For each pack, whether its optimizer step has anything to learn on any process.

        Args:
            lessons_N: how much each completion teaches; 0 for nothing.
            total: sums over processes.
        """
        taught = [bool(total(lessons_N[self._rows(groups)].sum()) > 0) for groups in self.steps]
        return [any_lesson for any_lesson in taught for _ in range(self.packs)]

    def _rows(self, groups: range) -> slice:
        """The completions of neighboring groups."""
        return slice(groups.start * self.group, groups.stop * self.group)


def balanced(tokens: dict[int, int], packs: int) -> list[list[int]]:
    """Spreads groups over a fixed number of packs so that these hold about equally many tokens.

    Args:
        tokens: by group number, its tokens.
        packs: how many packs; some stay empty if there are fewer groups.

    Returns:
        Group numbers of each pack, ascending.
    """
    contents: list[list[int]] = [[] for _ in range(packs)]
    loads = [0] * packs
    # The largest first, into the lightest; among equals by number, so that all processes and a resumed run agree.
    for group in sorted(tokens, key=lambda g: (-tokens[g], g)):
        lightest = loads.index(min(loads))
        contents[lightest].append(group)
        loads[lightest] += tokens[group]
    return [sorted(content) for content in contents]
