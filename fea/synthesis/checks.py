"""What a written analysis has to pass before anything learns from it.

The triple check of Facial-R1 (arXiv 2511.10254v1, "Data synthesis"): Action Units, emotion and format agree with the labels.
Then the text: nothing denied or supposed, every unit with the part of the face where it shows, neither too short nor too
long, no copy of the prompt's example.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from fea.data.example import Example
from fea.evaluation.scores import au_f1
from fea.facs import ACTION_UNITS
from fea.prompts.answer import Answer
from fea.prompts.prompt import example_analysis
from fea.synthesis.recipe import Checks

Reason = Literal[
    "format", "emotion", "missed", "invented", "supposed", "region", "length", "copied", "repeated",  # an attempt failed
    "vote", "quota", "alike", "unreadable",  # another one would not help
]  # fmt: skip

# What a text may call the parts of the face, beside their names in the table of units.
_WORDS = {
    "brow": "brow|forehead",
    "eye": "eye|lid|gaze",
    "cheek": "cheek|crow|nasolabial|furrow",
    "nose": "nos(?:e|tril)",
    "mouth": "mouth|lip|corner|dimple|teeth|tongue|smile",
    "chin": "chin",
    "jaw": "jaw|mouth",
    "neck": "neck",
    "head": "head",
    "gaze": "gaze|eye",
}
_SENTENCE_END = re.compile(r"[.!?\n](?!\d)")

# How a rejected attempt is told what kind of thing was wrong with it; never which unit, and never the labels.
_HINTS: dict[Reason, str] = {
    "format": "it was not one think block and one answer block",
    "emotion": "its emotion was wrong",
    "missed": "it missed Action Units",
    "invented": "it named Action Units that are not there",
    "supposed": "it denied or supposed Action Units instead of naming those that are visible",
    "region": "it did not say where each Action Unit shows",
    "length": "it was too short or too long",
    "copied": "it was a copy of the example",
    "repeated": "it said the same twice",
}


def failures(answer: Answer, example: Example, checks: Checks) -> list[Reason]:
    """The checks that an answer about an example does not pass; none for one that is accepted.

    Labels that are unknown are not checked, but an emotion has to be one of the allowed ones.
    """
    return list(_failures(answer, example, checks))


def _failures(answer: Answer, example: Example, checks: Checks) -> Iterator[Reason]:
    if not answer.well_formed:
        yield "format"
    if answer.emotion not in (example.labels or example.emotions or (answer.emotion,)):
        yield "emotion"
    score = au_f1(answer, example)
    if score is not None and score < checks.tau:
        claimed = answer.aus & example.coded
        if example.present - claimed:
            yield "missed"
        if claimed - example.present:
            yield "invented"
    if checks.plain and not all(mention.claimed for mention in answer.mentions):
        yield "supposed"
    if checks.regions and not all(
        _has_region(answer.text, mention.span, mention.number) for mention in answer.mentions
    ):
        yield "region"
    thinking = (answer.think or "").strip()
    if not checks.shortest <= len(thinking) <= checks.longest:
        yield "length"
    if checks.copied and thinking == example_analysis():
        yield "copied"
    sentences = [sentence.strip() for sentence in _SENTENCE_END.split(thinking) if sentence.strip()]
    if checks.repeated and len(set(sentences)) < len(sentences):
        yield "repeated"


def _has_region(text: str, span: tuple[int, int], number: int) -> bool:
    """Whether the sentence of a mention names a part of the face that the unit moves."""
    unit = ACTION_UNITS.get(number)
    if unit is None:
        return False
    start = max((end.end() for end in _SENTENCE_END.finditer(text, 0, span[0])), default=0)
    end = _SENTENCE_END.search(text, span[1])
    sentence = text[start : end.start() if end else len(text)]
    return re.search(rf"(?:{_WORDS[unit.region]})", sentence, re.IGNORECASE) is not None


def hint(reasons: Sequence[Reason]) -> str:
    """A sentence that tells a further attempt what was wrong with the last."""
    return f"An earlier attempt was rejected: {', and '.join(_HINTS[reason] for reason in reasons)}."


def revelation(example: Example) -> str:
    """A sentence with the labels, for the last attempts; their record says so."""
    units = ", ".join(f"AU{number}" for number in sorted(example.present & example.coded)) or "none"
    parts = [f"the Action Units {units}"] if example.coded else []
    parts += [f"the emotion {' or '.join(example.labels)}"] if example.labels else []
    return f"The labels are {' and '.join(parts)}."
