"""Images that a text is not about: the same drawn face without one of its units, or another face of the file that lacks it."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from fea.data.example import Example
from fea.drawn.again import Drawn, recalled
from fea.drawn.drawing import DRAWN_AUS
from fea.drawn.world import Prior

# Takes a face, a unit that it shows, or None for one that shows none, and chance; gives a face without it, or with another
# emotion. Whatever finds faces that look alike, such as a search by embeddings, can take the place of `Labeled`.
Retrieve = Callable[[Example, int | None, np.random.Generator], Example | None]


class Other(NamedTuple):
    """An image that is rejected.

    Attributes:
        how: "redrawn" or "retrieved".
        unit: that it lacks, negative for one that it has more; None for a face with another emotion.
        image: its path, of one that is there.
        picture: the image itself, of one that was drawn.
    """

    how: str
    unit: int | None
    image: str = ""
    picture: bytes = b""


class Labeled:
    """Finds faces by their labels: one that lacks a unit, with the same emotion if there is one, by chance among these.

    Args:
        examples: the faces of the file.
    """

    def __init__(self, examples: Sequence[Example]):
        self.examples = examples
        self._lacking: dict[tuple[int, str], list[int]] = defaultdict(list)
        self._showing: dict[str, list[int]] = defaultdict(list)
        for number, example in enumerate(examples):
            emotion = example.labels[0] if example.labels else ""
            self._showing[emotion].append(number)
            for unit in example.coded - example.present:
                self._lacking[unit, emotion].append(number)
                self._lacking[unit, "any"].append(number)

    def __call__(self, example: Example, unit: int | None, chance: np.random.Generator) -> Example | None:
        """As in `Retrieve`."""
        emotion = example.labels[0] if example.labels else ""
        if unit is None:
            others = [word for word in sorted(self._showing) if word and word not in example.labels]
            found = self._showing[str(chance.choice(others))] if others and emotion else []
        else:
            found = self._lacking.get((unit, emotion)) or self._lacking.get((unit, "any"), [])
        number = int(chance.choice(found)) if found else None
        return None if number is None else self.examples[number]


def other_image(
    example: Example,
    claimed: frozenset[int],
    prior: Prior | None,
    retrieve: Retrieve,
    chance: np.random.Generator,
) -> Other | None:
    """An image that a text is wrong about; None if there is none.

    Args:
        example: the face that the text is about.
        claimed: units that the text claims and the face shows.
        prior: of the world that drawn faces are from; None draws none.
        retrieve: finds another face where none can be drawn.
        chance: which unit.
    """
    drawn = recalled(example, prior) if prior is not None else None
    if drawn is not None:
        return _redrawn(drawn, claimed, chance)
    unit = int(chance.choice(sorted(claimed))) if claimed else None
    found = retrieve(example, unit, chance)
    return Other("retrieved", unit, found.image) if found and found.image != example.image else None


def _redrawn(drawn: Drawn, claimed: frozenset[int], chance: np.random.Generator) -> Other | None:
    """The face without a unit that is claimed; one that shows none gets one, which a text about a face at rest lacks."""
    units = drawn.removable(claimed)
    if units:
        unit = int(chance.choice(units))
        picture = drawn.without(unit)
        return None if picture is None else Other("redrawn", unit, picture=_png(picture))
    for unit in chance.permutation([n for n in DRAWN_AUS if n not in drawn.grades]).tolist():
        picture = drawn.beside(unit)
        if picture is not None:
            return Other("redrawn", -unit, picture=_png(picture))
    return None


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "png", compress_level=1)
    return stream.getvalue()
