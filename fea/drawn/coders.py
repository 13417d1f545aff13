"""People who label faces, and err: what is rare is overlooked, and as often seen where it is not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from fea.drawn.drawing import possible

# What people take for each other: fear and surprise share wide eyes, anger and disgust a tense look; a faint smile or frown
# passes for a face at rest.
_CONFUSED = (("fear", "surprise"), ("anger", "disgust"), ("happiness", "neutral"), ("sadness", "neutral"))


class Coder(NamedTuple):
    """A coder whose errors leave the shares of all labels as they are.

    Of two things that are taken for each other the rarer one is mistaken with probability `noise`, and the more frequent one as
    often in all: with probability noise * share of the rarer / share of the more frequent. Such are a unit and its absence, and
    the pairs of emotions that are confused; neutral is in two of them. With noise 0.05 a unit of 2 % of all faces is overlooked
    on 5 % of these, and seen on 0.1 % of the others.

    Attributes:
        noise: a probability, up to 0.5.
        emotions: shares of all faces, by word.
        units: shares of all faces, by FACS number.
    """

    noise: float
    emotions: Mapping[str, float]
    units: Mapping[int, float]

    def emotion(self, shown: str, rng: np.random.Generator) -> str:
        """The label that a face with this emotion gets."""
        left = rng.random()
        for pair in _CONFUSED:
            if shown in pair:
                other = pair[1 - pair.index(shown)]
                left -= self._rate(self.emotions[shown], self.emotions[other])
                if left < 0:
                    return other
        return shown

    def aus(self, shown: Collection[int], rng: np.random.Generator) -> list[int]:
        """The units that a face with these units gets, a set that can be shown."""
        while True:
            seen = [n for n, share in self.units.items() if (n in shown) != self._errs(n in shown, share, rng)]
            if possible(set(seen)):
                return seen

    def _errs(self, there: bool, share: float, rng: np.random.Generator) -> bool:
        return rng.random() < (self._rate(share, 1 - share) if there else self._rate(1 - share, share))

    def _rate(self, share: float, other: float) -> float:
        """The probability that the one is taken for the other."""
        return self.noise * min(1.0, other / share)
