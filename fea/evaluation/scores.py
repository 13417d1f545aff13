"""What one answer is worth.

Every score is in [0, 1], or None where the example says nothing about it: unknown is neither added nor normalized with.
Rewards that are corrected for what guessing earns, and may fall below 0, are told in `fea.callbacks`.
Source: Facial-R1, arXiv 2511.10254v1, "Reinforcement learning": R_AU, R_acc and R_format.
"""

from __future__ import annotations

from collections.abc import Callable

from fea.data.example import Example
from fea.prompts.answer import Answer


def has_thinking(answer: Answer) -> bool:
    """Whether there is a closed think block with something in it."""
    return bool((answer.think or "").strip())


def au_f1(answer: Answer, example: Example, weight: Callable[[int], float] = lambda unit: 1) -> float | None:
    """F1 of the claimed units against the present ones, over the coded units.

    R_AU: 2 hits / (claimed + present). The source leaves open what the empty cases below are worth.

    Args:
        answer: the parsed text.
        example: the face it is about.
        weight: by FACS number, what a unit counts for in all three; above 0.

    Returns:
        1 if nothing is claimed and nothing there, provided that there is a closed, non-empty think block; 0 without such a
        block; None if no unit was coded, or none was asked for.
    """
    if not example.coded or answer.form == "only":
        return None
    if not has_thinking(answer):
        return 0.0
    claimed, present = answer.aus & example.coded, example.present
    if not claimed and not present:
        return 1.0
    # In order, so that sums are the same wherever they are made.
    hits, said, there = (sum(map(weight, sorted(units))) for units in (claimed & present, claimed, present))
    return 2 * hits / (said + there)


def emotion_match(answer: Answer, example: Example) -> float | None:
    """R_acc: 1 if the answer is one of the labels, else 0; None if the emotion is unknown."""
    return float(answer.emotion in example.labels) if example.labels else None


def format_match(answer: Answer) -> float:
    """R_format: 1 if the text is exactly one think block and one answer block, or what else was asked for; else 0."""
    return float(answer.well_formed)
