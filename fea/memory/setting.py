"""What decides how much memory a run needs: a few numbers of its config."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from lightning.pytorch.strategies import ModelParallelStrategy

from fea.model.config import PolicyConfig
from fea.model.fsdp import Gather


class Spread(NamedTuple):
    """How a fit is spread over processes, a card each.

    Attributes:
        processes: how many.
        sharded: whether weights, gradients and optimizer are shared out among them (FSDP2); else each has them all (DDP).
        gather: of sharded weights: whether a rollout holds them all, as in `fea.model.fsdp.FSDP2Strategy`.
    """

    processes: int = 1
    sharded: bool = False
    gather: Gather = "auto"

    @classmethod
    def of(cls, strategy: Any, processes: int) -> Spread:
        """That of a trainer.

        Args:
            strategy: of the trainer, or its name.
            processes: of the trainer.
        """
        sharded = strategy == "fsdp2" or isinstance(strategy, ModelParallelStrategy)
        return cls(processes, sharded, getattr(strategy, "gather", "auto"))


@dataclass(frozen=True)
class Setting:
    """What decides how much memory a run needs. All numbers are those of one process.

    Attributes:
        policy: the model.
        batch_size: prompts in a rollout, or in a batch of fine-tuning; preference pairs in one of these.
        packs: that these are split into.
        minibatches: optimizer steps among these.
        group_size: completions of each; 1 in fine-tuning, where nothing is sampled.
        microbatches: parts that these are split into in an update.
        max_tokens: of a completion, or of an answer.
        analysis: tokens of the longest analysis that is learned from; 0 if there is none, or it is not known.
        eval_batch_size: prompts that a validation answers at a time; 0 if there is none.
        reference: whether a reference policy is compared with.
        entropy: whether entropies carry a gradient.
        eight_bit: whether the optimizer keeps its moments in 8 bits.
        precision: of the trainer.
        spread: over processes.
        views: prompts with a text that each of a batch has: 4 for a preference pair, of which two may share theirs.
    """

    policy: PolicyConfig
    batch_size: int
    packs: int
    minibatches: int
    group_size: int
    microbatches: int
    max_tokens: int
    analysis: int
    eval_batch_size: int
    reference: bool
    entropy: bool
    eight_bit: bool
    precision: str
    spread: Spread
    views: int = 1

    def __hash__(self) -> int:
        return hash(repr(self))  # of the policy, too, which nobody changes

    @property
    def samples(self) -> bool:
        """Whether there are rollouts."""
        return self.group_size > 1

    @property
    def pack(self) -> int:
        """Prompts of a pack."""
        return max(1, self.batch_size // self.packs) * self.views

    @property
    def learned(self) -> int:
        """Tokens of the longest text that is learned from; if it is not known, no longer than what is written."""
        return self.analysis or self.max_tokens

    @property
    def autocast(self) -> bool:
        """Whether matrices are multiplied in bf16, whatever they are kept in."""
        return self.precision == "bf16-mixed"

    @property
    def gathers(self) -> bool:
        """Whether a rollout holds all of the sharded weights; "auto" says so until it is known that they do not fit."""
        return self.spread.sharded and self.spread.gather != "never"

    def but(self, **changes: Any) -> Setting:
        """The same with some of its own numbers, or some of the policy's, changed."""
        own = {name: value for name, value in changes.items() if name in self.__dataclass_fields__}
        policy = {name: value for name, value in changes.items() if name not in own}
        return replace(self, policy=replace(self.policy, **policy), **own)
