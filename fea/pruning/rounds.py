"""Rounds: score the layers, take out the least of the inner ones, number the others anew, and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fea.errors import FEAError
from fea.model.network import Network
from fea.model.policy import Policy
from fea.pruning.calibration import Face
from fea.pruning.criteria import Question, scores
from fea.pruning.dropping import inner, keep
from fea.pruning.settings import ITERATIVE, Criterion


class Round(NamedTuple):
    """One look at a network. Layers go by the numbers that they had at first.

    Attributes:
        dropped: layers that go.
        scores: of all that could have gone; of `cosine_block`, of the block that begins with a layer.
    """

    dropped: list[int]
    scores: dict[int, float]


def check_count(network: Network, count: int) -> None:
    """Refuses a number of layers that are not there.

    Raises:
        FEAError: saying how many may go.
    """
    depth, free = len(network.language_model.layers), len(inner(network))
    if not 1 <= count <= free:
        seeing = (
            f", and the first {network.deepstack}, which are given features of the image,"
            if network.deepstack > 1
            else ""
        )
        raise FEAError(
            f"layers: {count}, but of the {depth} layers of this language model between 1 and {free} can go: the first and the "
            f"last one{seeing} stay"
        )


def rounds_of(
    policy: Policy, faces: Sequence[Face], criterion: Criterion, count: int, seed: int, done: Sequence[Round] = ()
) -> Iterator[Round]:
    """Takes layers out of a policy in memory, and tells of each round when it is done.

    Args:
        policy: in eval mode, which loses its layers.
        faces: the calibration faces.
        criterion: by what the layers are chosen; iterative ones take a layer a round, the others all at once, as published.
        count: layers that go.
        seed: of what is drawn.
        done: rounds that an earlier call has told of; their layers are taken out without a look.
    """
    network = policy.network
    depth, turns = len(network.language_model.layers), count if criterion in ITERATIVE else 1
    left = kept_of(depth, done)
    if done:
        keep(network, left)
    for turn in range(len(done), turns):
        found = scores(criterion, Question(policy, faces, count, seed, turn))
        if criterion == "cosine_block":
            start = min(found, key=lambda place: found[place])
            going = set(range(start, start + count))
        else:
            going = set(sorted(found, key=lambda place: found[place])[: count // turns])
        told = Round([left[place] for place in sorted(going)], {left[place]: score for place, score in found.items()})
        kept = [place for place in range(len(left)) if place not in going]
        keep(network, kept)
        left = [left[place] for place in kept]
        yield told


def kept_of(depth: int, rounds: Sequence[Round]) -> list[int]:
    """The layers that are left, by the numbers that they had at first.

    Args:
        depth: of the language model before.
        rounds: that it has been through.
    """
    gone = {layer for told in rounds for layer in told.dropped}
    return [layer for layer in range(depth) if layer not in gone]
