"""Minimal pairs: a text with one entity swapped, an Action Unit together with its sign, or the emotion.

Entities are spans: `mentions` says where each claim stands, and nothing else of the text is touched. So both texts begin alike,
and end alike, and what they are compared by is the entity.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np

from fea.data.example import Example
from fea.drawn.wording import SIGNS
from fea.facs import ACTION_UNITS
from fea.prompts.answer import Answer, parse
from fea.prompts.mentions import Mention

# Units that people and models take for each other: they move the same part of the face, or come together.
_GROUPS = (
    (1, 2),
    (4, 9),
    (5, 7),
    (6, 7),
    (9, 10),
    (12, 14),
    (12, 20),
    (15, 17),
    (23, 24),
    (25, 26),
    (25, 27),
    (26, 27),
)
CONFUSABLE: dict[int, tuple[int, ...]] = {
    unit: tuple(sorted({other for pair in _GROUPS if unit in pair for other in pair} - {unit}))
    for unit in sorted({unit for pair in _GROUPS for unit in pair})
}
_SENTENCE = re.compile(r"[^.!?\n]*\Z")


def stand_ins(unit: int, example: Example, claimed: Collection[int]) -> list[int]:
    """Units that a unit may be taken for, and that are known not to be there; others only if there is no such one.

    Args:
        unit: FACS number.
        example: the face.
        claimed: units that must not be named twice.
    """
    absent = example.coded - example.present - set(claimed)
    return [other for other in CONFUSABLE.get(unit, ()) if other in absent] or sorted(absent)


def with_other_units(answer: Answer, example: Example, share: float, chance: np.random.Generator) -> str | None:
    """The text with some of the units that it claims replaced by others that are not there; None if that cannot be done.

    Args:
        answer: an answer whose claims are true.
        example: the face.
        share: of the units; one at least.
        chance: which.
    """
    units = sorted(unit for unit in answer.aus & example.present if stand_ins(unit, example, answer.aus))
    if not units:
        return None
    count = min(len(units), max(1, round(share * len(answer.aus))))
    swaps: dict[int, int] = {}
    for unit in sorted(int(unit) for unit in chance.choice(units, count, replace=False)):
        others = stand_ins(unit, example, answer.aus | set(swaps.values()))
        if others:
            swaps[unit] = int(chance.choice(others))
    text = answer.text
    for mention in sorted(answer.mentions, key=lambda mention: mention.span, reverse=True):
        if mention.number in swaps:
            text = _replaced(text, mention, swaps[mention.number])
    wanted = frozenset(swaps.get(unit, unit) for unit in answer.aus)
    return text if parse(text, example.emotions).aus == wanted else None


def _replaced(text: str, mention: Mention, other: int) -> str:
    """The text with another unit in one place: its number, and its sign if the sentence before it says it in known words."""
    start, end = mention.span
    code = re.sub(r"0*[1-9]\d?", str(other), text[start:end], count=1)
    sentence = _SENTENCE.search(text, 0, start)
    begin = sentence.start() if sentence else start
    return text[:begin] + _with_sign(text[begin:start], mention.number, other) + code + text[end:]


def _with_sign(words: str, unit: int, other: int) -> str:
    """The words before a code, with the sign of the other unit in place of the last one of its own."""
    own, theirs = _signs(unit), _signs(other)
    for number, sign in enumerate(own):
        at = words.lower().rfind(sign) if sign else -1
        if at >= 0 and theirs and theirs[number]:
            new = theirs[number]
            new = new[0].upper() + new[1:] if words[at].isupper() else new
            return words[:at] + new + words[at + len(sign) :]
    return words


def _signs(unit: int) -> Sequence[str]:
    """The words that a unit is told by, each kind in the same place: clauses of drawn faces, its sign, its name."""
    known = ACTION_UNITS.get(unit)
    return (*(SIGNS[unit].clauses if unit in SIGNS else ("", "")), known.sign, known.name) if known else ()


def with_other_emotion(answer: Answer, example: Example, chance: np.random.Generator) -> str | None:
    """The text with another emotion, wherever it says its own one; None if there is no other one."""
    others = [word for word in example.emotions if word not in example.labels and word != answer.emotion]
    if not others or answer.emotion is None:
        return None
    other = str(chance.choice(others))
    text = re.sub(rf"\b{re.escape(answer.emotion)}\b", other, answer.text, flags=re.IGNORECASE)
    found = parse(text, example.emotions)
    return text if found.emotion == other and found.aus == answer.aus else None


def naming(units: Collection[int]) -> str:
    """The question that names units, and asks what they mean."""
    *first, last = (f"AU{unit}" for unit in sorted(units))
    if not first:
        return f"{last} is visible; which emotion does it express, and why?"
    return f"{', '.join(first)} and {last} are visible; which emotion do they express, and why?"


def with_other_unit(units: Collection[int], example: Example, chance: np.random.Generator) -> frozenset[int] | None:
    """Units with one of them swapped for another that is not there; None if there is none to swap."""
    swappable = [unit for unit in sorted(units) if stand_ins(unit, example, units)]
    if not swappable:
        return None
    unit = int(chance.choice(swappable))
    return frozenset(units) - {unit} | {int(chance.choice(stand_ins(unit, example, units)))}
