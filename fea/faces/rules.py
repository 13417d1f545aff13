"""Ten Action Units by a threshold each on one or two movements; no other unit can be told from single movements.

The thresholds were chosen on 327 faces at the peak of an expression that FACS coders had coded, and their F1 was measured on
the same faces: they are where to start from, and flatter themselves. Of the others, cheekPuff, cheekSquint and noseSneer hardly
ever move, and AU7 and AU9 were read at an F1 of .6 at best by sums that also follow other units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fea.faces.blendshapes import Shapes, movement

SOURCE = "blendshape-rule"


class Rule(NamedTuple):
    """When a unit shows.

    Attributes:
        movements: one, several with " + " between them, which are added up, or with " or ", of which the largest counts.
        above: what they have to exceed.
        f1: on the faces that the threshold was chosen on.
    """

    movements: str
    above: float
    f1: float

    def strength(self, shapes: Shapes) -> Shapes:
        """What is compared with the threshold, (faces,), for blendshapes (faces, 52)."""
        if " or " in self.movements:
            most: Shapes = np.max([movement(shapes, name) for name in self.movements.split(" or ")], axis=0)
            return most
        total: Shapes = np.sum([movement(shapes, name) for name in self.movements.split(" + ")], axis=0)
        return total


RULES: dict[str, Rule] = {
    "AU1": Rule("browInnerUp", 0.1, 0.87),
    "AU2": Rule("browOuterUp", 0.2, 0.87),
    "AU4": Rule("browDown", 0.2, 0.63),
    "AU5": Rule("eyeWide", 0.03, 0.86),
    "AU6": Rule("eyeSquint + mouthSmile", 1.15, 0.80),
    "AU12": Rule("mouthSmile", 0.5, 0.91),
    "AU17": Rule("mouthShrugLower", 0.03, 0.70),
    "AU20": Rule("mouthStretch", 0.3, 0.61),
    "AU25": Rule("jawOpen or mouthLowerDown", 0.1, 0.95),
    "AU27": Rule("jawOpen", 0.3, 0.95),
}


class ByRule:
    """Reads the ten units by their rules."""

    units = tuple(RULES)
    meta: Mapping[str, object] = {"source": SOURCE, "thresholds": {unit: rule.above for unit, rule in RULES.items()}}

    def shown(self, face: Shapes) -> tuple[str, ...]:
        """Codes of the units that show in a face of which the blendshapes, (52,), are given."""
        return tuple(unit for unit, rule in RULES.items() if rule.strength(face[None])[0] > rule.above)


def told() -> list[str]:
    """The rules as sentences, one a unit."""
    return [f"{unit} shows where {rule.movements} > {rule.above:g}" for unit, rule in RULES.items()]
