"""Puts a drawn face into words: true analyses, captions without codes, and the analyses of a biased annotator."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from fea.facs import PROTOTYPES
from fea.prompts.answer import render

Grades = Mapping[int, int]  # Action Unit number to grade, 1 (trace) to 5 (maximum)


class Sign(NamedTuple):
    """What one unit looks like in plain words: its name in a caption, and clauses that an analysis chooses from."""

    caption: str
    clauses: tuple[str, ...]


# From the forehead down, the order in which a face is read.
SIGNS: dict[int, Sign] = {
    1: Sign("inner brows up", ("the inner brows are up", "the inner ends of the brows rise")),
    2: Sign("outer brows up", ("the outer brows are up", "the outer ends of the brows rise")),
    4: Sign("brows together", ("the brows are drawn together", "the brows are low and together")),
    5: Sign("eyes wide", ("the eyes are wide open", "the upper lids are high")),
    7: Sign("lids tight", ("the lids are tight", "the lower lids are tense")),
    6: Sign("cheeks up", ("the cheeks are up", "the cheeks lift toward the eyes")),
    9: Sign("nose wrinkled", ("the nose is wrinkled", "creases cross the nose")),
    12: Sign("mouth corners up", ("the mouth corners are up", "the mouth corners are pulled back")),
    15: Sign("mouth corners down", ("the mouth corners are down", "the mouth corners are pulled down")),
    20: Sign("mouth stretched", ("the mouth is stretched wide", "the mouth is stretched sideways")),
    23: Sign("lips tight", ("the lips are thin and tight", "the lips are tightened")),
    24: Sign("lips pressed", ("the lips are pressed together", "the lips press on each other")),
    25: Sign("lips apart", ("the lips are apart", "the lips part")),
    26: Sign("jaw down", ("the jaw is down", "the jaw hangs open")),
    16: Sign("lower lip down", ("the lower lip is down", "the lower lip shows the teeth")),
    17: Sign("chin wrinkled", ("the chin is wrinkled", "the chin pushes up")),
}
_NOTHING = ("no sign of movement is visible", "the face is at rest")
_CONCLUSIONS = ("this points to {}", "together this means {}", "this looks like {}")
_DEGREES = ("slightly", "strongly")

# Every sentence part there is: the corpus of the tiny model's tokenizer.
CORPUS: tuple[str, ...] = (
    *(f"{sign.caption} {degree}, " for sign in SIGNS.values() for degree in _DEGREES),
    *(
        f" {text} (AU{n}). "
        for n, sign in SIGNS.items()
        for clause in sign.clauses
        for text in (clause, clause.capitalize())
    ),
    *(f" {text} " for sentence in (*_NOTHING, *_CONCLUSIONS) for text in (sentence, sentence.capitalize())),
)


def analysis(aus: Collection[int], emotion: str, rng: np.random.Generator) -> str:
    """A reasoned analysis in varied wording, with think and answer blocks; `prompts.numbered` puts numbers into it."""
    clauses = [f"{rng.choice(SIGNS[n].clauses)} (AU{n})" for n in SIGNS if n in aus] or [str(rng.choice(_NOTHING))]
    conclusion = str(rng.choice(_CONCLUSIONS)).format(emotion)
    sentences = ". ".join(clause[0].upper() + clause[1:] for clause in [*clauses, conclusion])
    return render(f"{sentences}.", emotion)


def caption(grades: Grades) -> str:
    """The signs of the face in plain words, from the forehead down; no codes, no emotion."""
    parts = [f"{SIGNS[n].caption} {_degree(grades[n])}" for n in SIGNS if n in grades]
    return ", ".join(parts or _NOTHING[:1]) + "."


def annotate(
    grades: Grades, emotion: str, rng: np.random.Generator, invents: float = 0.6, overlooks: float = 0.65
) -> set[int]:
    """The units that a biased annotator writes down, who knows the emotion and sees what it suggests.

    The errors are systematic: random slips in analyses average out in greedy answers, and would leave nothing to reinforce.

    Args:
        grades: the units that the face shows.
        emotion: its label.
        rng: source of chance.
        invents: probability of writing a unit of the emotion's usual prototype that is not there.
        overlooks: probability of missing a faint unit (grade 1 or 2) that the prototype does not suggest.

    Returns:
        Numbers of the units that the annotation names.
    """
    expected = {n for n in PROTOTYPES[emotion][0] if n in SIGNS}
    seen = {n for n, grade in grades.items() if n in expected or grade > 2 or rng.random() >= overlooks}
    # Sorted: the order of a set is no promise, and each unit has to meet the same chance in every run.
    return seen | {n for n in sorted(expected - set(grades)) if rng.random() < invents}


def _degree(grade: int) -> str:
    return _DEGREES[grade > 2]
