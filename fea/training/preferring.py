"""What preference optimization maximizes, as settings; the formulas are in `fea.losses`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from fea.errors import FEAError
from fea.model.pairing import Images

Term = Literal["response", "image", "question", "anchor"]
TERMS: tuple[Term, ...] = ("response", "image", "question", "anchor")
# What each objective compares; of mDPO the rejected image is a crop, and the anchor belongs to it.
_OF: dict[str, tuple[Term, ...]] = {
    "empo": TERMS,
    "mdpo": ("response", "image", "anchor"),
    "dpo": ("response",),
}


@dataclass
class Preference:
    """What an update maximizes, and by how much.

    Args:
        objective: "empo" swaps an entity, a unit or the emotion, in the text, in the image and in the question (arXiv
            2506.04039; of that paper the three aspects are known, and the sum of three logistic losses is our reading).
            "dpo" compares texts alone (arXiv 2305.18290). "mdpo" compares texts, and the image with a crop of 1 to 20 % of
            itself, beside an anchor (arXiv 2406.11839). The last two are what it is to be compared with.
        beta: how far the reference policy may be left: the larger, the less.
        response: weight of the text over the rejected text.
        image: weight of the text behind its image over the same text behind the rejected image.
        question: weight of the text behind its question over the same text behind the rejected question.
        anchor: weight of the term that keeps the text itself from becoming less likely, which differences allow: without it a
            policy unlearns to write, on drawn faces. It is a part of mDPO; whether EMPO's paper has one is not known.
        least: implicit reward that the anchor asks for, beta times nats more likely than under the reference.
        blur: share of the pairs of which both images are lightly blurred, so that no trace of how one of them was made tells
            it.
    """

    objective: Literal["empo", "dpo", "mdpo"] = "empo"
    beta: float = 0.1
    response: float = 1.0
    image: float = 1.0
    question: float = 1.0
    anchor: float = 1.0
    least: float = 0.0
    blur: float = 0.1

    def __post_init__(self) -> None:
        """Refuses numbers that nothing can be learned with.

        Raises:
            FEAError: naming the setting.
        """
        if not 0 < self.beta < math.inf:
            raise FEAError(f"model.preference.beta: {self.beta}; give a number above 0, such as 0.1")
        for name, weight in self.weights.items():
            if not 0 <= weight < math.inf:
                raise FEAError(f"model.preference.{name}: {weight}; give a number that is not negative")
        if not 0 <= self.blur <= 1:
            raise FEAError(f"model.preference.blur: {self.blur}; give a share of the pairs, from 0 to 1")
        if not any(weight for name, weight in self.weights.items() if name != "anchor"):
            raise FEAError("model.preference: all weights are 0, so nothing is compared; set one of them above 0")

    @property
    def weights(self) -> dict[Term, float]:
        """Of each term; 0 for those that the objective does not have."""
        given = dict(zip(TERMS, (self.response, self.image, self.question, self.anchor), strict=True))
        return {name: weight if name in _OF[self.objective] else 0.0 for name, weight in given.items()}

    @property
    def images(self) -> Images | None:
        """Where rejected images are from; None if there are none to compare with."""
        if not self.weights["image"]:
            return None
        return "crop" if self.objective == "mdpo" else "pairs"
