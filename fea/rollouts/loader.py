"""Serves rollouts: from a batch of prompts to the packs of its update, at a position that is known and can be resumed.

A group is one prompt with its completions. It is never shuffled apart and never split across packs or processes, so that
advantages need no communication and the prompt can be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback
from torch import Tensor

from fea.data.loader import EpochSampler, Loader
from fea.data.prompt import Prompt
from fea.system.processes import gathered, rank

if TYPE_CHECKING:
    import lightning.pytorch as L
from fea.rollouts.buffer import Buffer, Pack
from fea.rollouts.rollout import Rollout


class RolloutCallback(Callback):
    """A callback that looks at rollouts."""

    def on_rollout(
        self, trainer: L.Trainer, module: L.LightningModule, rollout: Rollout, rewards: dict[str, Tensor]
    ) -> None:
        """Called after each rollout; `rewards` holds a (B, G) tensor by reward name, NaN where one does not apply."""


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
