"""The same drawn face without one of its units: a counterfactual image that is exact.

A drawn face is a function of its seed, its number and its world. A line holds the first two in its id, and the person in
`meta_info`. Which of the worlds it is from is tried, and believed only if the picture, drawn again, is equal to the last pixel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from fea.data.example import Example
from fea.drawn.drawing import draw_face, possible
from fea.drawn.faces import sample_expression, sample_movement
from fea.drawn.pen import Look
from fea.drawn.people import sample_look, sample_picture
from fea.drawn.world import EVEN, SKEWED
from fea.images.opening import load_image

_ID = re.compile(r"face-(\d+)-(\d+)")


class Drawing(NamedTuple):
    """What a drawn picture is made from.

    Attributes:
        grades: Action Unit number to grade, 1 to 5, as drawn: labels may be wrong.
        look: identity, pose and light.
        size: width and height in pixels.
    """

    grades: Mapping[int, int]
    look: Look
    size: int

    def without(self, unit: int) -> Image.Image:
        """The picture without a unit, all else being equal."""
        return draw_face({n: grade for n, grade in self.grades.items() if n != unit}, self.look, self.size)

    @property
    def removable(self) -> list[int]:
        """Units without which a face can be: a jaw that drops parts the lips."""
        return [unit for unit in sorted(self.grades) if possible(set(self.grades) - {unit})]


def drawing_of(example: Example) -> Drawing | None:
    """What the picture of an example was drawn from; None if it is no drawn face, or one of a world that is not known here.

    Raises:
        FEAError: the image cannot be read.
    """
    found = _ID.fullmatch(example.id)
    if found is None:
        return None
    shown = load_image(example.image, example.place)
    seed, number, person = int(found[1]), int(found[2]), _person(example, found[1])
    for sample in (
        lambda rng: sample_expression(rng, EVEN),
        lambda rng: sample_expression(rng, SKEWED),
        sample_movement,
    ):
        rng = np.random.default_rng([seed, number])
        grades = sample(rng).grades
        look = sample_look(rng) if person is None else sample_picture(seed, person, rng)
        drawing = Drawing(grades, look, shown.width)
        if shown.size == (shown.width, shown.width) and np.array_equal(
            np.asarray(draw_face(grades, look, shown.width)), np.asarray(shown)
        ):
            return drawing
    return None


def _person(example: Example, seed: str) -> int | None:
    """Whose face it is, by the number within its seed."""
    told = json.loads(example.meta or "{}")
    subject = str(told.get("subject", "")) if isinstance(told, dict) else ""
    owner, _, number = subject.partition("-")
    return int(number) if owner == seed and number.isdigit() else None
