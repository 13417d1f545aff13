"""Batches of prompts in an order that is a function of (seed, epoch), from any position: what exact resume needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fea.data.example import Example
from fea.data.mixture import Examples, drawn_forms
from fea.data.prompt import Prompt, Side
from fea.data.source import OnBad
from fea.errors import FEAError
from fea.prompts.answer import Form
from fea.prompts.numbers import Numbers

Encode = Callable[[Example], Prompt]
EncodeEach = Callable[[Example], list[Prompt]]  # of an image, a prompt for each face

# Unreadable images in a row after which skipping is no answer any more: even if every second one were broken, so many in a row
# would be one case in a million.
_TRIES = 20
# More epochs than a run has, so that no two pairs of a seed and an epoch begin with the same number.
_EPOCHS = 1_000_003

Faces = Examples | Sequence[Example]


class Draw(NamedTuple):
    """Which example, whether it is shown mirrored, and in which form it is asked about; None: that of the policy."""

    number: int
    flipped: bool
    form: Form | None = None

    def shown(self, example: Example) -> Example:
        """The example as it is drawn."""
        example = example.mirror() if self.flipped else example
        return example._replace(form=self.form) if self.form else example


class EpochSampler(Sampler[Draw]):
    """The draws of one rank in one epoch, a function of the seed and the epoch.

    Args:
        size: number of examples.
        seed: of the order.
        shuffle: False keeps the order of the files.
        weights: draw with replacement in these proportions.
        mirror: show half of the examples mirrored.
        rank: of this process.
        world: number of processes; each gets every world-th draw.
        even: give every process the same number of draws, leaving out the rest.
        forms: of answers that are asked for, in these proportions; None asks for that of the policy.
    """

    def __init__(
        self,
        size: int,
        seed: int = 0,
        shuffle: bool = True,
        weights: NDArray[np.float64] | None = None,
        mirror: bool = False,
        rank: int = 0,
        world: int = 1,
        even: bool = True,
        forms: Mapping[Form, float] | None = None,
    ):
        self.size = size
        self.seed = seed
        self.shuffle = shuffle
        self.mirror = mirror
        self.rank = rank
        self.world = world
        self.weights = None if weights is None else torch.from_numpy(weights)
        self.stop = size // world * world if even else size
        self.forms = forms
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(range(self.rank, self.stop, self.world))

    @property
    def most(self) -> int:
        """Draws of the process that has the most."""
        return len(range(0, self.stop, self.world))

    def __iter__(self) -> Iterator[Draw]:
        """Begins at `start`, in draws of this rank.

        Every process makes the whole order and takes its own places from it, here with 3 processes:

            place     0 1 2 | 3 4 5 | 6 7          rank 1 serves places 1, 4 and 7; with start = 1 only 4 and 7
            rank      0 1 2   0 1 2   0 1          even: stop = 6, so that nobody has a draw more
        """
        yield from self.at(range(self.rank + self.start * self.world, self.stop, self.world))

    def at(self, places: Iterable[int]) -> Iterator[Draw]:
        """What stands at some places of the whole order, behind whose end it begins anew."""
        chance = torch.Generator().manual_seed(self.seed * _EPOCHS + self.epoch)
        if self.weights is not None:
            order = torch.multinomial(self.weights, self.size, replacement=True, generator=chance)
        else:
            order = torch.randperm(self.size, generator=chance) if self.shuffle else torch.arange(self.size)
        flips = torch.rand(self.size, generator=chance) < (0.5 if self.mirror else 0.0)
        forms = drawn_forms(self.forms, self.size, chance)  # at last, so that all else is what it is without
        for place in places:
            at = place % self.size
            yield Draw(int(order[at]), bool(flips[at]), forms[at])


class Encoded(Dataset[tuple[list[Prompt], list[str]]]):
    """Encodes what is drawn; an unreadable image gives way to another example, or to nothing.

    Args:
        examples: what is drawn from.
        encode: turns one into a prompt, or into several.
        substitute: take the next example of the file in place of one that cannot be read.
    """

    def __init__(self, examples: Faces, encode: Encode | EncodeEach, substitute: bool):
        self.examples, self.encode, self.substitute = examples, encode, substitute

    def __getitem__(self, draw: Draw) -> tuple[list[Prompt], list[str]]:
        """The prompt or prompts, none if there is none, and why images before it could not be read."""
        reasons: list[str] = []
        for attempt in range(_TRIES if self.substitute else 1):
            example = self.examples[(draw.number + attempt) % len(self.examples)]
            try:
                found = self.encode(draw.shown(example))
                return found if isinstance(found, list) else [found], reasons
            except FEAError as error:
                reasons.append(str(error))
        return [], reasons


# The tensors of a prompt and the dimension along which those of a batch can be joined.
_JOINED = {"ids": 0, "positions": 1, "pixels": 0, "grid": 0, "target": 0, "rejected": 0}


class _Joined(NamedTuple):
    """A batch on its way from a worker: every tensor costs a file handle there, so there are six and not six a prompt.

    prompts          ids [a b c], [d e]          positions (3, 3), (3, 2)
    tensors          ids [a b c d e]             positions (3, 5), joined along dimension 1
    sizes            ids [3, 2]                  positions [3, 2]
    given            what a processor gave, flat     shapes   of each prompt's part of it
    """

    examples: list[Example]
    tensors: dict[str, Tensor]
    sizes: dict[str, list[int]]
    given: dict[str, Tensor]
    shapes: dict[str, list[torch.Size]]
    forms: list[Form]
    numbers: list[Numbers]
    sides: list[Side]


def _join(items: list[tuple[list[Prompt], list[str]]]) -> tuple[_Joined, list[str]]:
    """In a worker: the prompts of a batch as few tensors, and why images could not be read."""
    prompts = [prompt for found, _ in items for prompt in found]
    tensors: dict[str, Tensor] = {}
    sizes: dict[str, list[int]] = {}
    for name, dim in _JOINED.items():
        parts = [getattr(prompt, name) for prompt in prompts]
        sizes[name] = [part.shape[dim] for part in parts]
        if parts:
            tensors[name] = torch.cat(parts, dim)
    examples, given = [prompt.example for prompt in prompts], [prompt.given or {} for prompt in prompts]
    names = given[0] if given else ()
    flat = {name: torch.cat([each[name].flatten() for each in given]) for name in names}
    shapes = {name: [each[name].shape for each in given] for name in names}
    forms, numbers = [prompt.form for prompt in prompts], [prompt.numbers for prompt in prompts]
    joined = _Joined(examples, tensors, sizes, flat, shapes, forms, numbers, [prompt.side for prompt in prompts])
    return joined, [reason for _, reasons in items for reason in reasons]


def _split(joined: _Joined) -> list[Prompt]:
    """In the process that asked: the prompts again, as views of the joined tensors."""
    parts = {name: tensor.split(joined.sizes[name], dim=_JOINED[name]) for name, tensor in joined.tensors.items()}
    given = {
        name: [part.view(shape) for part, shape in zip(tensor.split([s.numel() for s in shapes]), shapes, strict=True)]
        for name, tensor in joined.given.items()
        if (shapes := joined.shapes[name])
    }
    return [
        Prompt(
            example,
            **{name: part[number] for name, part in parts.items()},
            given={name: part[number] for name, part in given.items()} or None,
            form=joined.forms[number],
            numbers=joined.numbers[number],
            side=joined.sides[number],
        )
        for number, example in enumerate(joined.examples)
    ]


class Loader:
    """A `DataLoader` of prompts that knows its position and can go on from it.

    Args:
        examples: what to load.
        encode: turns an example into a prompt, or an image into one for each face, in the worker processes.
        sampler: the order.
        batch_size: prompts in a batch.
        workers: processes that read ahead; 0 reads in this one.
        on_bad: "raise" at an unreadable image, or "skip" it and count.
        training: batches are always full: skipped examples are replaced, the short last batch is left out.

    Yields:
        Lists of prompts, the same number in all processes; in evaluation they may be empty.
    """

    batch_sampler = None  # the trainer asks for it wherever there is a sampler

    def __init__(
        self,
        examples: Faces,
        encode: Encode | EncodeEach,
        sampler: EpochSampler,
        batch_size: int,
        workers: int,
        on_bad: OnBad,
        training: bool,
    ):
        self.examples, self.sampler = examples, sampler
        self.batch_size, self.on_bad, self.training = batch_size, on_bad, training
        self.skipped: dict[str, int] = {}
        self._position = 0  # batches served in this epoch
        self._skip = 0  # batches that the next iteration begins behind
        self._encoded = Encoded(examples, encode, substitute=training and on_bad == "skip")
        self._loader = DataLoader(
            self._encoded,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=workers,
            collate_fn=_join,
            drop_last=training,
            generator=torch.Generator(),  # its own: otherwise every epoch would draw from the global state
        )

    def __len__(self) -> int:
        whole, rest = divmod(self.sampler.most, self.batch_size)
        return whole + bool(rest and not self.training)

    def __iter__(self) -> Iterator[list[Prompt]]:
        self._position, self._skip = self._skip, 0
        self.sampler.start = self._position * self.batch_size
        for joined, reasons in self._loader:
            self._position += 1
            self._take_note(reasons)
            prompts = _split(joined)
            if self.training and len(prompts) < self.batch_size:
                raise FEAError(_unreadable(reasons))
            yield prompts
        while self._position < len(self):  # other processes have one more
            self._position += 1
            yield []

    def encoded(self, draw: Draw) -> Prompt:
        """The prompt of a draw of training, out of turn and in this process."""
        prompts, reasons = self._encoded[draw]
        self._take_note(reasons)
        if not prompts:
            raise FEAError(_unreadable(reasons))
        return prompts[0]

    def _take_note(self, reasons: Sequence[str]) -> None:
        for reason in reasons:
            if self.on_bad == "raise":
                raise FEAError(f"{reason}, or set 'on_bad: skip'")
            self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def state_dict(self) -> dict[str, int]:
        """Batches already served in this epoch; 0 when it is complete."""
        return {"position": self._position % max(1, len(self))}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next iteration goes on from there; the one after it begins an epoch as usual."""
        self._skip = state["position"]


def _unreadable(reasons: Sequence[str]) -> str:
    return f"{_TRIES} images in a row cannot be read; the last reason: {reasons[-1]}"
