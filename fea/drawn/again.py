"""A drawn face that is drawn again, with one Action Unit more or less: a counterfactual that is true by construction.

Number and seed of a face, which its id holds, decide all that chance decided about it. What comes of them is compared with the
image, so that a face of another world, or one that was touched, is never taken for what it is not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from fea.data.example import Example
from fea.drawn.drawing import DRAWN_AUS, draw_face, possible
from fea.drawn.faces import Expression, sample_expression, sample_movement
from fea.drawn.pen import Look
from fea.drawn.people import sample_look, sample_picture
from fea.drawn.world import SKEWED, Prior
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


def recalled(example: Example, prior: Prior | None = None) -> Drawn | None:
    """What a face was drawn from; None if it is no drawn face, or one of another world.

    Args:
        example: the face.
        prior: of its world; None: that of any set that a demo draws.

    Raises:
        FEAError: its image cannot be read.
    """
    told = _ID.fullmatch(example.id)
    if told is None or example.flipped:
        return None
    seed, number, person = int(told[1]), int(told[2]), _person(example)
    image = load_image(example.image, example.place)
    for sample in _samples(prior):
        rng = np.random.default_rng([seed, number])
        grades = sample(rng).grades
        look = sample_look(rng) if person is None else sample_picture(seed, person, rng)
        drawn = Drawn(grades, look, image.width)
        square = image.size == (drawn.size, drawn.size)
        if square and draw_face(grades, look, drawn.size).tobytes() == image.tobytes():
            return drawn
    return None


def _samples(prior: Prior | None) -> list[Callable[[np.random.Generator], Expression]]:
    """How a face of the world came to its units."""
    if prior is not None:
        return [partial(sample_expression, prior=prior)]
    return [sample_expression, partial(sample_expression, prior=SKEWED), sample_movement]


def _person(example: Example) -> int | None:
    """Whose face it is, by the number within its seed; None where every face is a person of its own."""
    meta = json.loads(example.meta or "{}")
    found = _SUBJECT.fullmatch(str(meta.get("subject", ""))) if isinstance(meta, dict) else None
    return int(found[1]) if found else None
