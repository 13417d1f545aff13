"""Settings of preference pairs: how they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fea.errors import FEAError

# "auto": a drawn face is drawn again without a unit, for any other one a face of the file is taken that lacks it.
Images = Literal["auto", "retrieved", "none"]


@dataclass
class PairRecipe:
    """How pairs are made.

    Args:
        samples: answers that the policy writes about each face.
        tau: least F1 of the claimed Action Units, against the coded ones, of an answer that is preferred; it invents none.
        edited: fill up with minimal pairs, where a policy has made no mistake of its own: some of its units, or its emotion,
            are swapped. false leaves such faces out.
        swapped: share of the units that such an edit replaces, of which there is one at least.
        images: where rejected images are from; "auto" draws a drawn face again without one unit, and takes another face of the
            file, which lacks it, for any other; "retrieved" always takes one; "none" has none.
        questions: share of the pairs whose question names the units; the rejected one has another in place of one of them.
        prior: of the world that drawn faces are from, as in `fea data faces`.
        seed: of the sampling, and of all choices.
    """

    samples: int = 8
    tau: float = 0.8
    edited: bool = True
    swapped: float = 0.3
    images: Images = "auto"
    questions: float = 0.3
    prior: str = "even"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses numbers that no pairs can be made with.

        Raises:
            FEAError: naming the setting.
        """
        if self.samples < 1:
            raise FEAError(f"recipe.samples: {self.samples}; at least 1 answer has to be written about a face")
        for name in ("tau", "swapped", "questions"):
            if not 0 <= getattr(self, name) <= 1:
                raise FEAError(f"recipe.{name}: {getattr(self, name)}; give a number from 0 to 1")
        if self.seed < 0:
            raise FEAError(f"recipe.seed: {self.seed}; give a number from 0 up")
