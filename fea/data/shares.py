"""How often each answer is right about a face as it is drawn in training: what guessing earns, and how rare a label is.

Rewards that are corrected for the prior subtract a share, balanced ones divide by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fea.data.example import Example
from fea.errors import FEAError

if TYPE_CHECKING:
    from fea.data.mixture import Examples


class Shares(NamedTuple):
    """Shares of the drawn faces. A label that no drawn face has is not among them.

    Attributes:
        emotions: by the allowed emotions, which a prompt lists, the share of the labeled faces for which each emotion is
            right; of several labels each is, so that they may add up to more than 1.
        units: by FACS number, the share of the faces that show it among those for which it was coded.
        coded: by FACS number, the share of the faces for which it was coded among those with any coded unit.
    """

    emotions: Mapping[tuple[str, ...], Mapping[str, float]]
    units: Mapping[int, float]
    coded: Mapping[int, float]


def shares_of(examples: Examples, weights: NDArray[np.float64] | None = None, mirror: bool = False) -> Shares:
    """Counts the labels of training examples.

    Args:
        examples: those that are drawn from.
        weights: how often each is drawn; None for all alike.
        mirror: half of the draws are shown mirrored, in which a head that turns left turns right. The few faces whose words
            name a side are never mirrored, and counted as if they were.
    """
    drawn = np.ones(len(examples)) if weights is None else weights
    labeled, right = defaultdict[tuple[str, ...], float](float), defaultdict[tuple[tuple[str, ...], str], float](float)
    for example, weight in _weighed(examples, drawn, "labels"):
        labeled[example.emotions] += weight if example.labels else 0
        for label in example.labels:
            right[example.emotions, label] += weight
    faces, coded, present = 0.0, defaultdict[int, float](float), defaultdict[int, float](float)
    for example, weight in _weighed(examples, drawn, "dataset", "AUs", "AUs_coded"):
        faces += weight if example.coded else 0
        for face in (example, example._replace(question="", analysis=None).mirror() if mirror else example):
            for number in face.coded:
                coded[number] += weight / 2
            for number in face.present:
                present[number] += weight / 2
    emotions: dict[tuple[str, ...], dict[str, float]] = {allowed: {} for allowed in labeled}
    for (allowed, label), weight in right.items():
        if weight > 0:
            emotions[allowed][label] = weight / labeled[allowed]
    return Shares(  # in order, so that sums over them are the same to the last bit wherever they are made
        emotions=emotions,
        units={number: weight / coded[number] for number, weight in sorted(present.items()) if weight > 0},
        coded={number: weight / faces for number, weight in sorted(coded.items()) if weight > 0},
    )


def _weighed(examples: Examples, weights: NDArray[np.float64], *fields: str) -> Iterator[tuple[Example, float]]:
    """One example for all that agree in some fields, and the weight of these: of a million few differ in their labels."""
    first, kinds = examples.kinds(*fields)
    for index, weight in zip(first.tolist(), np.bincount(kinds, weights).tolist(), strict=True):
        yield examples[index], weight


def check_power(setting: str, power: float) -> float:
    """Holds that a power of rarity lies between 0, where all labels weigh the same, and 1, where each does as a whole.

    Raises:
        FEAError: naming the setting.
    """
    if not 0 <= power <= 1:
        raise FEAError(
            f"{setting}: {power}; give 0 to leave labels as frequent as they are, 1 to make them even, or a number between"
        )
    return power
