"""`Made`: what became of a face for which a preference pair was to be made."""

from __future__ import annotations

from typing import NamedTuple

from fea.data.example import Example
from fea.pairs.choosing import Chosen
from fea.pairs.counterfactual import Other


class Made(NamedTuple):
    """What became of a face.

    Attributes:
        example: the face.
        why: it has no pair; "" if it has one.
        chosen: the preferred text.
        rejected: the text that is not, or None.
        other: the rejected image, or None.
        questions: the question and the rejected one, or None for the question that the face has.
    """

    example: Example
    why: str = ""
    chosen: Chosen | None = None
    rejected: Chosen | None = None
    other: Other | None = None
    questions: tuple[str, str] | None = None
