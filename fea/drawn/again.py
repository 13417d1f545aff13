"""A drawn face that is drawn again, with one Action Unit more or less: a counterfactual that is true by construction.

Number and seed of a face, which its id holds, decide all that chance decided about it. What comes of them is compared with the
image, so that a face of another world, or one that was touched, is never taken for what it is not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from fea.data.example import Example
from fea.drawn.drawing import DRAWN_AUS, draw_face, possible
from fea.drawn.faces import sample_expression
from fea.drawn.pen import Look
from fea.drawn.people import sample_look, sample_picture
from fea.drawn.world import EVEN, Prior
from fea.images.opening import load_image

_ID = re.compile(r"face-(\d+)-(\d+)")
_SUBJECT = re.compile(r"\d+-(\d+)")
_CLEAR = 3  # grade of a unit that is added: the middle of the scale


class Drawn(NamedTuple):
    """What a face was drawn from.

    Attributes:
        grades: of its units.
        look: of the person and the picture.
        size: of the image, in pixels.
    """

    grades: dict[int, int]
    look: Look
    size: int

    def without(self, unit: int) -> Image.Image | None:
        """The same face without a unit; None if it does not show it, or has to: no jaw drops behind closed lips."""
        rest = {number: grade for number, grade in self.grades.items() if number != unit}
        if unit not in self.grades or not possible(rest):
            return None
        return draw_face(rest, self.look, self.size)

    def beside(self, unit: int) -> Image.Image | None:
        """The same face with a unit more; None if it shows it already, or cannot."""
        more = {**self.grades, unit: _CLEAR}
        if unit in self.grades or unit not in DRAWN_AUS or not possible(more):
            return None
        return draw_face(more, self.look, self.size)

    def removable(self, units: Iterable[int]) -> list[int]:
        """Those of some units that the face can be without, in order."""
        return sorted(n for n in set(units) & self.grades.keys() if possible({*self.grades} - {n}))


def recalled(example: Example, prior: Prior = EVEN) -> Drawn | None:
    """What a face was drawn from; None if it is no drawn face, or one of another world.

    Args:
        example: the face.
        prior: of the world.

    Raises:
        FEAError: its image cannot be read.
    """
    told = _ID.fullmatch(example.id)
    if told is None or example.flipped:
        return None
    seed, number = int(told[1]), int(told[2])
    rng = np.random.default_rng([seed, number])
    expression = sample_expression(rng, prior)
    meta = json.loads(example.meta)
    person = _SUBJECT.fullmatch(str(meta.get("subject", ""))) if isinstance(meta, dict) else None
    look = sample_picture(seed, int(person[1]), rng) if person else sample_look(rng)
    image = load_image(example.image, example.place)
    drawn = Drawn(expression.grades, look, image.width)
    same = (
        image.size == (drawn.size, drawn.size)
        and draw_face(drawn.grades, look, drawn.size).tobytes() == image.tobytes()
    )
    return drawn if same else None
