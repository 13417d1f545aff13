"""Pairs (x, x~) that a model should tell apart, and how probable it finds both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fea.data.prompt import Prompt
from fea.model.policy import Policy
from fea.pruning.calibration import Face
from fea.pruning.edits import edited


class Pair(NamedTuple):
    """Two views. T tokens of both texts.

    Attributes:
        prompts: of both, or one that both texts answer.
        ids_2T: the texts.
    """

    prompts: list[Prompt]
    ids_2T: Tensor


def pairs_of(policy: Policy, faces: Sequence[Face], seed: int, turn: int) -> Iterator[Pair]:
    """A text and its edited self about each face; where there is one, the same text about the face without a unit, too.

    The views of the paper are texts. The third one, the counterfactual face, is our reading of what a model that sees is to
    tell apart.

    Args:
        policy: whose tokens the texts are made of.
        faces: the calibration faces.
        seed: of the edits.
        turn: number of the round, since each draws anew.
    """

    @lru_cache(maxsize=1 << 16)  # words come again and again
    def length(text: str) -> int:
        return len(policy.encoder.target(text))

    for number, face in enumerate(faces):
        rng = np.random.default_rng([seed, turn, number])
        other = policy.encoder.target(edited(face.text, length, rng)).to(face.ids.device)
        yield Pair([face.prompt], torch.stack([face.ids, other]))
        if face.drawing:
            units = face.drawing.removable(face.drawing.grades)
            unit = units[rng.integers(len(units))]
            yield Pair([face.prompt, _without(policy, face, unit)], torch.stack([face.ids, face.ids]))


def _without(policy: Policy, face: Face, unit: int) -> Prompt:
    """The prompt about a drawn face without a unit, its image seen."""
    picture, crop = face.drawing and face.drawing.without(unit), policy.encoder.crop
    assert picture
    example = face.prompt.example
    # An image of its own: by that it is known what was seen already.
    changed = example._replace(image=f"{example.image} without AU{unit}")
    return policy.look([policy.encoder.of(changed, crop(picture) if crop else picture)])[0]


def losses_of(policy: Policy, prompts: Sequence[Prompt], ids_NT: Tensor) -> Tensor:
    """(N,) negative log-likelihoods of texts without padding, in nats a token."""
    logps_NT, _ = policy.logps(prompts, ids_NT, torch.ones_like(ids_NT))
    return -logps_NT.mean(dim=1)


def difference(policy: Policy, pair: Pair) -> Tensor:
    """L(x~) - L(x), in nats a token: its gradient is the difference of gradients, in one backward pass."""
    losses_2 = losses_of(policy, pair.prompts, pair.ids_2T)
    return losses_2[1] - losses_2[0]


def mean_loss(policy: Policy, faces: Sequence[Face]) -> float:
    """The mean over faces of L(x), in nats a token."""
    with torch.no_grad():
        return float(torch.stack([losses_of(policy, [face.prompt], face.ids[None])[0] for face in faces]).mean())
