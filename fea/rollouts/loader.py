"""Serves rollouts: from a batch of prompts to the packs of its update, at a position that is known and can be resumed.

A group is one prompt with its completions. It is never shuffled apart and never split across packs or processes, so that
advantages need no communication and the prompt can be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from fea.data.loader import Draw, EpochSampler, Loader
from fea.data.prompt import Prompt
from fea.model.sampling import repeats
from fea.rollouts.buffer import Buffer, Pack
from fea.rollouts.rollout import Rollout
from fea.system.processes import count, gathered, rank

if TYPE_CHECKING:
    import lightning.pytorch as L


class RolloutCallback(Callback):
    """A callback that looks at rollouts."""

    def on_rollout(
        self, trainer: L.Trainer, module: L.LightningModule, rollout: Rollout, rewards: dict[str, Tensor]
    ) -> None:
        """Called after each rollout; `rewards` holds a (B, G) tensor by reward name, NaN where one does not apply."""


class RolloutLoader:
    """Makes a rollout from each batch of prompts and serves its packs, `epochs` times over.

    Its length and its position are known, so clipping, accumulation, schedules and exact resume inside a rollout are the
    trainer's business. With two packs and two epochs:

        position    0 1 2 3 | 4 5 6 7 | 8 ..        packs served in this epoch of the data
        batch       0         1         2           each a rollout, made before its first pack
        served      0 1 2 3   0 1 2 3   0 ..        of this rollout, so the pack is 0 1 0 1
        buffer      x x x -   x x x -   x ..        what a checkpoint holds after this pack: - when all are served

    Args:
        prompts: batches of prompts.
        roll: makes the buffer of a batch; it is given the prompts and the number of the round.
        packs: packs of a rollout.
        epochs: times that these are served.
        place: moves prompts to the device of the policy.
        replay: by the number of a pack in the run, analyses that it is to learn from as well.
        shown: puts what fills groups up in place of the prompts of a batch.
    """

    def __init__(
        self,
        prompts: Loader,
        roll: Callable[[list[Prompt], int], Buffer],
        packs: int,
        epochs: int,
        place: Callable[[list[Prompt]], list[Prompt]],
        replay: Callable[[int], list[Prompt]],
        shown: Callable[[list[Prompt], Mapping[int, Draw]], list[Prompt]],
    ):
        self.prompts = prompts
        self.roll = roll
        self.packs = packs
        self.epochs = epochs
        self.place = place
        self.replay = replay
        self.shown = shown
        self._position = 0
        self._skip = 0  # packs that the next iteration begins behind
        self._buffer: Buffer | None = None

    @property
    def sampler(self) -> EpochSampler:
        """That of the prompts: Lightning looks for one here, and tells it the epoch."""
        return self.prompts.sampler

    def __len__(self) -> int:
        return len(self.prompts) * self.packs * self.epochs

    def __iter__(self) -> Iterator[Pack]:
        self._position, self._skip = self._skip, 0
        uses = self.packs * self.epochs  # packs that a rollout is served in
        batch, served = divmod(self._position, uses)
        if not served:
            self._buffer = None  # an epoch may have been cut short inside a rollout
        self.prompts.load_state_dict({"position": batch})
        for number, prompts in enumerate(self.prompts, batch):
            placed = self.place(prompts)
            round = self.sampler.epoch * len(self.prompts) + number
            buffer = self._buffer or self.roll(placed, round)
            self._buffer = buffer
            placed = self.shown(placed, buffer.filled)
            for pack in range(served, uses):
                self._position += 1  # before the pack is out: a checkpoint after its step goes on behind it
                if pack + 1 == uses:
                    self._buffer = None
                replay = self.replay(round * uses + pack)
                yield buffer.pack(pack % self.packs, placed)._replace(replay=replay and self.place(replay))
            served = 0

    def state_dict(self) -> dict[str, Any]:
        """Position in the epoch and the buffer of every process; the file is written by the first of them.

        In host memory: a process that is handed tensors of another one's GPU would open that one, too, and fill part of it.
        """
        buffer = None if self._buffer is None else move_data_to_device(_plain(self._buffer), "cpu")
        return {"ranks": gathered({"position": self._position % max(1, len(self)), "buffer": buffer})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next iteration goes on from there."""
        own = state["ranks"][rank()]
        self._skip = own["position"]
        self._buffer = None if own["buffer"] is None else _buffer(own["buffer"])


def _plain(buffer: Buffer) -> dict[str, Any]:
    return buffer._asdict() | {"filled": {group: tuple(draw) for group, draw in buffer.filled.items()}}


def _buffer(plain: dict[str, Any]) -> Buffer:
    filled = plain.get("filled", {})  # a checkpoint may come from where nothing could be filled up
    return Buffer(**plain | {"filled": {group: Draw(*draw) for group, draw in filled.items()}})


def drawn_before(ids: Sequence[str]) -> list[int]:
    """How often the example of each prompt of a round was drawn before it, by this process or another.

    The sampler deals its draws out in turn, so that one process with all of them counts the same:

        draws       a b   b a   a c          with two processes, of which the first has a, b, a
        before      0 0   1 1   2 0          and the second b, a, c

    Args:
        ids: of this process's examples, as many as every other process has.
    """
    return repeats(dealt(ids))[rank() :: count()]


def dealt(own: Sequence[str]) -> list[str]:
    """What all processes were dealt, in the order in which it was: as many each, in turn."""
    return [one for turn in zip(*gathered(own), strict=True) for one in turn]
