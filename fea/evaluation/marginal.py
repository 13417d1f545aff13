"""What one answer adds to the macro F1 of many: the number that is reported, taken apart into the answers that make it.

C classes: emotions, or FACS numbers. N answers; "..." is (N,) in rows of counts and () in their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from fea.data.example import Example
from fea.evaluation.counts import Floats, count_aus, count_emotions, f1, macro
from fea.prompts.answer import Answer

Kind = Literal["emotion", "au"]


class ClassCounts(NamedTuple):
    """Counts of what answers claim, over the answers about faces of which it is known.

    Attributes:
        hits: (..., C) answers that claim a class that is there.
        claimed: (..., C) answers that claim it.
        present: (..., C) answers about a face that shows it.
        answers: (...) answers.
    """

    hits: Floats
    claimed: Floats
    present: Floats
    answers: Floats

    def sum(self) -> ClassCounts:
        """Of all rows."""
        return ClassCounts(*(np.asarray(count.sum(axis=0)) for count in self))

    def plus(self, other: ClassCounts, factor: float = 1.0) -> ClassCounts:
        """With other counts, taken `factor` times."""
        return ClassCounts(*(np.asarray(one + factor * two) for one, two in zip(self, other, strict=True)))


def class_counts(
    kind: Kind, examples: Sequence[Example], answers: Sequence[Answer], emotions: Sequence[str]
) -> ClassCounts:
    """Counts each answer by itself.

    Args:
        kind: what is claimed. Units that nobody coded are not, nor is an emotion that is not allowed.
        examples: the face of each answer; its row stays 0 where it says nothing of the kind.
        answers: N of them.
        emotions: the allowed ones, labels among them; with "au" none is needed.
    """
    alone = [[answer] for answer in answers]
    if kind == "au":
        units = count_aus(examples, alone)
        return ClassCounts(units.hits, units.claimed, units.present, units.answers)
    confusion = count_emotions(examples, alone, emotions).confusion
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    return ClassCounts(hits, confusion.sum(axis=1)[:, :-1], confusion.sum(axis=2), confusion.sum(axis=(1, 2)))


def marginal(sums: ClassCounts, rows: ClassCounts, inside: bool) -> Floats:
    """What each answer adds to the macro F1, times the number of answers, so that it does not shrink with their number.

        answers * (macro F1 of the counts with the answer - macro F1 of the counts without it)

    The mean is over the classes that the labels with the answer hold; the F1 of a class is 2 hits / (claimed + present).

    Args:
        sums: of many answers.
        rows: of the N answers, each by itself.
        inside: whether these are among the many; else each is what would be added to them.

    Returns:
        (N,).
    """
    without = sums.plus(rows, -1.0) if inside else sums
    counted = sums if inside else sums.plus(rows)
    labeled = np.broadcast_to(counted.present > 0, rows.present.shape)
    gain = macro(f1(*counted[:3]), labeled) - macro(f1(*without[:3]), labeled)
    return np.asarray(counted.answers * gain)
