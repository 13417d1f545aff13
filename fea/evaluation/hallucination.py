"""How much of what answers claim is invented, and whether a claim goes when its Action Unit goes.

AU-CHAIR is the CHAIR of objects (Rohrbach et al., "Object hallucination in image captioning", EMNLP 2018) for Action Units. The
deletion flip rate asks for the cause: of the units that an answer claims rightly, one is taken away from the picture, and the
answer about what is left should no longer claim it. Only faces that are drawn can be asked so exactly.

F faces; a row of sums is [what is counted, out of how many], so that rows of faces, folds and processes add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from fea.data.example import Example
from fea.drawn.again import recalled
from fea.drawn.world import EVEN, Prior
from fea.evaluation.counts import Floats
from fea.facs import au_number
from fea.prompts.answer import Answer

SHARES = ("au_chair_i", "au_chair_s", "coverage")


def count_invented(examples: Sequence[Example], answers: Sequence[Sequence[Answer]]) -> dict[str, Floats]:
    """Counts the claims of answers, a row a face.

    Args:
        examples: F faces; a row stays 0 where no unit was coded.
        answers: of each face, any number.

    Returns:
        (F, 2) by name.
        au_chair_i: of the claimed units those that are not there.
        au_chair_s: of the answers those that claim a unit that is not there.
        coverage: of the units that are there those that are claimed.
    """
    counts = {name: np.zeros((len(examples), 2)) for name in SHARES}
    for face, (example, said) in enumerate(zip(examples, answers, strict=True)):
        for answer in said if example.coded else ():
            if answer.form == "only":  # nobody asked for units
                continue
            claimed = answer.aus & example.coded
            invented, hits = len(claimed - example.present), len(claimed & example.present)
            counts["au_chair_i"][face] += invented, len(claimed)
            counts["au_chair_s"][face] += invented > 0, 1
            counts["coverage"][face] += hits, len(example.present)
    return counts


def share(counts: Floats) -> float:
    """What is counted over out of how many, of all rows together; NaN if there is nothing."""
    counted, of = counts.sum(axis=0)
    return float(counted / of) if of else float("nan")


def shares(counts: Mapping[str, Floats]) -> dict[str, float]:
    """The share of each; without those of which there is nothing."""
    found = {name: share(rows) for name, rows in counts.items()}
    return {name: value for name, value in found.items() if value == value}


class Deletion(NamedTuple):
    """A face without a unit that an answer about it claimed rightly.

    Attributes:
        face: number of the face.
        unit: that is not there any more.
        example: what is known of what is left; its emotion may be another one now, so it has none.
        picture: what is left.
    """

    face: int
    unit: int
    example: Example
    picture: Image.Image


def deletions(examples: Sequence[Example], answers: Sequence[Answer], prior: Prior = EVEN) -> list[Deletion]:
    """For each unit that an answer claims rightly, its face drawn without it.

    Args:
        examples: F faces; those that were not drawn, or in another world, are left out.
        answers: one about each.
        prior: of the world.

    Raises:
        FEAError: an image cannot be read.
    """
    found = []
    for face, (example, answer) in enumerate(zip(examples, answers, strict=True)):
        drawn = recalled(example, prior)
        for unit in drawn.removable(answer.aus & example.present) if drawn else ():
            picture = drawn.without(unit) if drawn else None
            if picture is not None:
                rest = frozenset(code for code in example.aus or () if au_number(code) != unit)
                # Named by what it shows: what is seen of two pictures of one name is taken to be the same.
                name = f"{example.image} without AU{unit}"
                left = example._replace(id=f"{example.id}-AU{unit}", image=name, aus=rest, labels=())
                found.append(Deletion(face, unit, left, picture))
    return found


def count_flips(deleted: Sequence[Deletion], answers: Sequence[Answer], faces: int) -> Floats:
    """(F, 2): of the units that were taken away from each face, those that are claimed no longer.

    Args:
        deleted: faces without a unit.
        answers: about each of these.
        faces: F, how many there were before.
    """
    counts = np.zeros((faces, 2))
    for deletion, answer in zip(deleted, answers, strict=True):
        counts[deletion.face] += deletion.unit not in answer.aus, 1
    return counts
