"""From a batch of prompts to the packs of its update: the records that are handed over, and the loader that serves them.

A group is one prompt with its completions. It is never shuffled apart and never split across packs or processes, so that
advantages need no communication and the prompt can be shared.

Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from fea.data.loader import EpochSampler, Loader
from fea.data.prompt import Prompt
from fea.model.decoding import Trunk
from fea.model.policy import Policy
from fea.model.sampling import Completions, Generation
from fea.prompts.answer import Answer, parse
from fea.system.processes import gathered, rank

if TYPE_CHECKING:
    import lightning.pytorch as L


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


class RolloutCallback(Callback):
    """A callback that looks at rollouts."""

    def on_rollout(
        self, trainer: L.Trainer, module: L.LightningModule, rollout: Rollout, rewards: dict[str, Tensor]
    ) -> None:
        """Called after each rollout; `rewards` holds a (B, G) tensor by reward name, NaN where one does not apply."""


class Buffer(NamedTuple):
    """What the update needs of a rollout; a checkpoint inside a rollout holds it.

    Attributes:
        ids: (N, T) sampled token ids.
        mask: (N, T) 1 for the tokens of a completion.
        advantages: (N, T) per token.
        weights: (N, T) of each token in the loss of its optimiser step.
        sampled_logps: (N, T) as seen while sampling.
        old_logps: (N, T) of the sampling policy, recomputed; None if the first step is the only one and they are its own.
        ref_logps: (N, T) of the reference policy; None without a KL term.
        packs: for each pack, the numbers of its groups.
        signal: for each pack, whether any token of its optimiser step, on any process, has a weight and something to learn.
        metrics: what the rollout has to report.
    """

    ids: Tensor
    mask: Tensor
    advantages: Tensor
    weights: Tensor
    sampled_logps: Tensor
    old_logps: Tensor | None
    ref_logps: Tensor | None
    packs: list[list[int]]
    signal: list[bool]
    metrics: dict[str, float]

    def pack(self, number: int, prompts: Sequence[Prompt]) -> Pack:
        """One pack with its prompts.

        A pack without groups is given one with weight 0: every process runs the same number of forward passes.
        """
        group = len(self.ids) // len(prompts)
        groups = self.packs[number] or [0]
        rows = rows_of(groups, group, self.ids.device)
        used = int(self.mask[rows].sum(dim=1).max())

        def part(tensor: Tensor) -> Tensor:
            return tensor[rows, :used]

        return Pack(
            prompts=[prompts[g] for g in groups],
            ids=part(self.ids),
            mask=part(self.mask),
            advantages=part(self.advantages),
            weights=part(self.weights) * bool(self.packs[number]),
            sampled_logps=part(self.sampled_logps),
            old_logps=None if self.old_logps is None else part(self.old_logps),
            ref_logps=None if self.ref_logps is None else part(self.ref_logps),
            signal=self.signal[number],
            metrics=self.metrics,
            replay=[],
        )


class Pack(NamedTuple):
    """Whole groups that go through the model together; the fields are those of `Buffer`.

    Attributes:
        replay: analyses to learn from as well.
    """

    prompts: list[Prompt]
    ids: Tensor
    mask: Tensor
    advantages: Tensor
    weights: Tensor
    sampled_logps: Tensor
    old_logps: Tensor | None
    ref_logps: Tensor | None
    signal: bool
    metrics: dict[str, float]
    replay: list[Prompt]


def rows_of(groups: Sequence[int], group: int, device: torch.device) -> Tensor:
    """Numbers of the completions of some groups, each of `group` completions."""
    return torch.tensor([number * group + i for number in groups for i in range(group)], device=device)


class RolloutLoader:
    """Makes a rollout from each batch of prompts and serves its packs, `epochs` times over.

    Its length and its position are known, so clipping, accumulation, schedules and exact resume inside a rollout are the
    trainer's business.

    Args:
        prompts: batches of prompts.
        roll: makes the buffer of a batch; it is given the prompts and the number of the round.
        packs: packs of a rollout.
        epochs: times that these are served.
        place: moves prompts to the device of the policy.
        replay: by the number of a pack in the run, analyses that it is to learn from as well.
    """

    def __init__(
        self,
        prompts: Loader,
        roll: Callable[[list[Prompt], int], Buffer],
        packs: int,
        epochs: int,
        place: Callable[[list[Prompt]], list[Prompt]],
        replay: Callable[[int], list[Prompt]],
    ):
        self.prompts, self.roll, self.packs, self.epochs, self.place, self.replay = (
            prompts, roll, packs, epochs, place, replay,
        )  # fmt: skip
        self._position = self._skip = 0
        self._buffer: Buffer | None = None

    @property
    def sampler(self) -> EpochSampler:
        """Lightning tells it the epoch."""
        return self.prompts.sampler

    def __len__(self) -> int:
        return len(self.prompts) * self.packs * self.epochs

    def __iter__(self) -> Iterator[Pack]:
        self._position, self._skip = self._skip, 0
        batch, served = divmod(self._position, self.packs * self.epochs)
        if not served:
            self._buffer = None  # an epoch may have been cut short inside a rollout
        self.prompts.load_state_dict({"position": batch})
        for number, prompts in enumerate(self.prompts, batch):
            placed = self.place(prompts)
            round = self.sampler.epoch * len(self.prompts) + number
            buffer = self._buffer or self.roll(placed, round)
            self._buffer = buffer
            for pack in range(served, self.packs * self.epochs):
                self._position += 1
                if pack + 1 == self.packs * self.epochs:
                    self._buffer = None
                replay = self.replay(round * self.packs * self.epochs + pack)
                yield buffer.pack(pack % self.packs, placed)._replace(replay=replay and self.place(replay))
            served = 0

    def state_dict(self) -> dict[str, Any]:
        """Position in the epoch and the buffer of every process; the file is written by the first of them."""
        buffer = None if self._buffer is None else self._buffer._asdict()
        return {"ranks": gathered({"position": self._position % max(1, len(self)), "buffer": buffer})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next iteration goes on from there."""
        own = state["ranks"][rank()]
        self._skip = own["position"]
        self._buffer = None if own["buffer"] is None else Buffer(**own["buffer"])
