"""What one answer is worth.

Every score is in [0, 1], or None where the example says nothing about it: unknown is neither added nor normalised with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fea.data.example import Example
from fea.prompts.answer import Answer

if TYPE_CHECKING:
    pass


def au_f1(answer: Answer, example: Example) -> float | None:
    """F1 of the claimed units against the present ones, over the coded units.

    Returns:
        1 if nothing is claimed and nothing there, provided that there is a closed, non-empty think block; 0 without such a
        block; None if no unit was coded.
    """
    if not example.coded:
        return None
    if not (answer.think or "").strip():
        return 0.0
    claimed, present = answer.aus & example.coded, example.present
    return 2 * len(claimed & present) / (len(claimed) + len(present)) if claimed or present else 1.0


def emotion_match(answer: Answer, example: Example) -> float | None:
    """1 if the answer is one of the labels, else 0; None if the emotion is unknown."""
    return float(answer.emotion in example.labels) if example.labels else None


def format_match(answer: Answer) -> float:
    """1 if the text is exactly one non-empty think block and one non-empty answer block, else 0."""
    return float(answer.well_formed)
