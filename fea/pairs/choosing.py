"""Which of a policy's own answers about a face is preferred to which: on-policy pairs, as far as there are any.

A text that the policy would never write teaches it little, whether it is to write it or not (OPA-DPO, arXiv 2501.09695). So the
preferred text is one that it has written, and so is the rejected one: an answer with an invented unit, else with a missed one,
else with a wrong emotion. Edits only fill up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fea.data.example import Example
from fea.evaluation.scores import au_f1
from fea.pairs.edits import with_other_emotion, with_other_units
from fea.pairs.recipe import PairRecipe
from fea.prompts.answer import Answer, parse

_FLIPPED = 0.2  # of the edits: the emotion instead of units, so that the answer is an entity, too


class Chosen(NamedTuple):
    """A text and where it is from.

    Attributes:
        answer: the text, read.
        origin: "own", "reference" (the analysis of the file), or what was edited: "units", "emotion".
        fault: of a rejected text, what is wrong with it: "invented", "missed" or "emotion".
    """

    answer: Answer
    origin: str
    fault: str = ""


def invented(answer: Answer, example: Example) -> frozenset[int]:
    """Units that an answer claims, that were looked for, and that are not there."""
    return (answer.aus & example.coded) - example.present


def preferred(example: Example, answers: Sequence[Answer], recipe: PairRecipe) -> Chosen | None:
    """The best of the policy's own answers, if it is good enough; else the analysis of the file, if that is."""
    own = [(au_f1(answer, example) or 0.0, answer) for answer in answers if _accepted(answer, example, recipe.tau)]
    if own:
        return Chosen(max(own, key=lambda pair: pair[0])[1], "own")  # the first of the best
    written = parse(example.analysis, example.emotions) if example.analysis else None
    return Chosen(written, "reference") if written and _accepted(written, example, recipe.tau) else None


def _accepted(answer: Answer, example: Example, tau: float) -> bool:
    score = au_f1(answer, example)
    right = not example.labels or answer.emotion in example.labels
    return answer.well_formed and right and not invented(answer, example) and (score is None or score >= tau)


def rejected(
    example: Example, answers: Sequence[Answer], chosen: Answer, recipe: PairRecipe, chance: np.random.Generator
) -> Chosen | None:
    """An own answer that is worse than the chosen one, the closest of its kind; else an edit of the chosen one."""
    for fault in ("invented", "missed", "emotion"):
        faulty = [answer for answer in answers if answer.well_formed and _has(fault, answer, example, chosen)]
        if faulty:
            return Chosen(min(faulty, key=lambda answer: len(answer.aus ^ chosen.aus)), "own", fault)
    return _edited(example, chosen, recipe, chance) if recipe.edited else None


def _has(fault: str, answer: Answer, example: Example, chosen: Answer) -> bool:
    if fault == "invented":
        return bool(invented(answer, example))
    if fault == "missed":
        return bool((chosen.aus & example.present) - answer.aus)
    return bool(example.labels) and answer.emotion not in example.labels


def _edited(example: Example, chosen: Answer, recipe: PairRecipe, chance: np.random.Generator) -> Chosen | None:
    flipped = bool(example.labels) and chance.random() < _FLIPPED
    units = None if flipped else with_other_units(chosen, example, recipe.swapped, chance)
    if units is not None:
        return Chosen(parse(units, example.emotions), "units", "invented")
    emotion = with_other_emotion(chosen, example, chance) if example.labels else None
    return Chosen(parse(emotion, example.emotions), "emotion", "emotion") if emotion else None
