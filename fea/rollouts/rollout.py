"""From prompts to answers: what a policy wrote about a batch, and the one way to ask it.

A group is one prompt with its completions; they stand next to each other, so that completion n belongs to prompt n // G.

Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fea.data.prompt import Prompt
from fea.model.cache import Trunk
from fea.model.policy import Policy
from fea.model.reading import parts_of, whole_of
from fea.model.sampling import Completions, Generation, Heard
from fea.prompts.answer import Answer, parse


class Rollout(NamedTuple):
    """What the policy wrote about a batch of prompts; rewards and callbacks read it.

    Attributes:
        prompts: B prompts.
        group: completions of each.
        completions: N completions, those of one prompt next to each other.
        answers: the same, parsed.

    Example: two prompts with two completions each, the last one cut off at the length limit of 3 tokens.

        >>> from fea.data.example import Example
        >>> smile = Example(
        ...     id="face-0", dataset="faces", image="0.png", place="faces.jsonl:1", question="", aus=frozenset({"AU12"}),
        ...     coded=frozenset({4, 12}), labels=("happiness",), emotions=("happiness", "sadness"), analysis=None,
        ...     intensities={}, valence=None, arousal=None, meta="",
        ... )
        >>> none = torch.empty(0)  # in place of the image and of a reference text
        >>> first = Prompt(smile, torch.tensor([5, 9, 7]), torch.arange(3).expand(3, -1), none, none, none)
        >>> prompts = [first, first._replace(ids=torch.tensor([5, 9, 8]))]
        >>> texts = [
        ...     "<think>Mouth corners up (AU12).</think><answer>happiness</answer>",
        ...     "<think>Brows together (AU4).</think><answer>sadness</answer>",
        ...     "<think>At rest.</think><answer>happiness</answer>",
        ...     "<think>The",
        ... ]
        >>> completions = Completions(
        ...     ids=torch.tensor([[11, 12, 2], [13, 2, 0], [14, 2, 0], [11, 15, 16]]),  # 2 ends a completion
        ...     mask=torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 1, 1]]),
        ...     logps=torch.tensor([[-0.7, -0.1, -0.2], [-1.6, -0.3, 0.0], [-0.9, -0.4, 0.0], [-0.7, -2.3, -1.2]]),
        ...     truncated=torch.tensor([False, False, False, True]),
        ...     texts=texts,
        ... )
        >>> rollout = Rollout(prompts, group=2, completions=completions, answers=parse_all(texts, prompts))
        >>> [[answer.emotion for answer in answers] for answers in rollout.by_prompt]
        [['happiness', 'sadness'], ['happiness', None]]
        >>> rollout.rows([1])
        tensor([2, 3])
    """

    prompts: Sequence[Prompt]
    group: int
    completions: Completions
    answers: list[Answer]

    @property
    def by_prompt(self) -> list[list[Answer]]:
        """The answers of each prompt: B lists of G."""
        return [self.answers[start : start + self.group] for start in range(0, len(self.answers), self.group)]

    def rows(self, groups: Sequence[int]) -> Tensor:
        """Numbers of the completions that belong to these groups."""
        return rows_of(groups, self.group, self.completions.ids.device)

    def with_groups(self, groups: Sequence[int], others: Rollout) -> Rollout:
        """The same with what was written about other prompts in place of some groups."""
        rows, prompts, answers = self.rows(groups), list(self.prompts), list(self.answers)
        own, other = self.completions, others.completions
        texts, width = list(own.texts), max(own.ids.shape[1], other.ids.shape[1])

        def joined(whole: Tensor, part: Tensor) -> Tensor:
            if whole.dim() == 2:
                whole, part = (F.pad(rows_NT, (0, width - rows_NT.shape[1])) for rows_NT in (whole, part))
            return whole.index_copy(0, rows, part)

        for group, prompt in zip(groups, others.prompts, strict=True):
            prompts[group] = prompt
        for row, answer, text in zip(rows.tolist(), others.answers, other.texts, strict=True):
            answers[row], texts[row] = answer, text
        ids, mask, logps = joined(own.ids, other.ids), joined(own.mask, other.mask), joined(own.logps, other.logps)
        truncated = joined(own.truncated, other.truncated)
        return Rollout(prompts, self.group, Completions(ids, mask, logps, truncated, texts), answers)

    def regions(self, tokens_until: Callable[[Tensor, int], int]) -> dict[str, Tensor]:
        """First token and end of each region of each completion; without a block that comes first all of it is that block.

            text      <think> ... </think> <answer> ... </answer> end
            tokens    0                    think                     length
            "think"   [0, think)           "answer"  [think, length)           "all"  [0, length)

        Where the answer is asked for first, the two change places; where it is all, there is no thinking.

        Args:
            tokens_until: how many of given ids it takes to write so many characters.

        Returns:
            By region an (N, 2) tensor.
        """
        lengths_N = self.completions.mask.sum(dim=1).cpu()
        spans: dict[str, list[tuple[int, int]]] = {"all": [], "think": [], "answer": []}
        for ids, length, answer in zip(self.completions.ids.cpu(), lengths_N.tolist(), self.answers, strict=True):
            first = answer.think_span if answer.form == "after_thinking" else answer.answer_span
            cut = tokens_until(ids[:length], first[1]) if first and answer.form != "only" else length
            before, behind = ("think", "answer") if answer.form == "after_thinking" else ("answer", "think")
            for region, span in (("all", (0, length)), (before, (0, cut)), (behind, (cut, length))):
                spans[region].append(span)
        return {region: torch.tensor(found) for region, found in spans.items()}


class Scores(NamedTuple):
    """What a rollout earned. K rewards.

    Attributes:
        rewards_BGK: score of each completion by each reward; NaN where one does not apply.
        weights_K: factors in the total.
        names: of the rewards.
        regions: that they credit.
        late: by name of a reward with a time limit, the faces for which it took longer.
    """

    rewards_BGK: Tensor
    weights_K: Tensor
    names: list[str]
    regions: list[str]
    late: dict[str, int]

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
    heard: Heard | None = None,
) -> Rollout:
    """Asks a policy: the one way to get answers from it, for rewards, metrics, synthesis and use alike.

    Args:
        policy: in eval mode.
        prompts: B prompts, on its device.
        group: completions of each.
        generation: length limit and temperature.
        noise_NT: uniform numbers that choose the tokens; None for greedy answers.
        trunk: what earlier batches have read already, if the weights are still the same.
        heard: is told what is there while it is written.
    """
    completions = policy.rollout(prompts, group, generation, noise_NT, trunk, heard)
    return Rollout(prompts, group, completions, parse_all(completions.texts, prompts))


def trunk_of(policy: Policy, prompt: Prompt) -> Trunk:
    """The knowledge before a prompt, read. It ends where two prompts part, and these do at their images at the latest.

    Args:
        policy: in eval mode.
        prompt: on its device; the trunk is good for all that begin as it does.
    """
    trunk = Trunk()
    policy.rollout([prompt, prompt], 1, Generation(1), None, trunk)
    return trunk


def logps_of(
    policy: Policy, rollout: Rollout, packs: Sequence[Sequence[int]], temperature: float, parts: int = 1
) -> Tensor:
    """(N, T) log-probabilities of what a policy wrote, as an update computes them: pack by pack, each in so many parts.

    They are 0 outside of all packs.
    """
    ids, mask = rollout.completions.ids, rollout.completions.mask
    logps_NT = torch.zeros_like(mask, dtype=torch.float32)
    for groups in (pack or [0] for pack in packs):  # as many passes in every process
        rows = rollout.rows(groups)
        used = int(mask[rows].sum(dim=1).max())
        prompts = [rollout.prompts[group] for group in groups]
        read = policy.read(prompts)[1] if parts > 1 else None
        split = (parts_of(tensor[rows, :used], len(groups), parts) for tensor in (ids, mask))
        found = [
            policy.logps(prompts, some_ids, some_mask, temperature, read=read)[0]
            for some_ids, some_mask in zip(*split, strict=True)
        ]
        logps_NT[rows, :used] = whole_of(found, len(groups))
    return logps_NT


def parse_all(texts: Sequence[str], prompts: Sequence[Prompt]) -> list[Answer]:
    """Reads texts that answer prompts; several texts of a prompt stand next to each other."""
    group = len(texts) // len(prompts)
    asked = [prompts[number // group] for number in range(len(texts))]
    return [
        parse(text, prompt.example.emotions, form=prompt.form, numbers=prompt.numbers)
        for text, prompt in zip(texts, asked, strict=True)
    ]


def rows_of(groups: Sequence[int], group: int, device: torch.device) -> Tensor:
    """Numbers of the completions of some groups, each of `group` completions."""
    return torch.tensor([number * group + i for number in groups for i in range(group)], device=device)
