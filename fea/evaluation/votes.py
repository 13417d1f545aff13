"""Several answers about one face: how many of them claim a unit or name an emotion, and which of them speaks for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from fea.prompts.answer import Answer


class Vote(NamedTuple):
    """What came of several answers.

    Attributes:
        answer: the one that speaks for all: it names the emotion that most name, and of those it is the one whose units are
            nearest to what most claim; the first of several.
        units: by code of a unit that any answer claims, the share of answers that do.
        emotions: by emotion that any answer names, the share of answers that do.
    """

    answer: Answer
    units: dict[str, float]
    emotions: dict[str, float]


def vote(answers: Sequence[Answer]) -> Vote:
    """Counts the answers about one face; one that cannot be read claims and names nothing, and counts all the same.

    >>> from fea.prompts.answer import parse, render
    >>> said = [render("Cheeks up (AU6), smile (AU12).", "happiness"), render("A smile (AU12).", "happiness"), "What?"]
    >>> found = vote([parse(text) for text in said])
    >>> found.answer.text == said[1], {code: round(share, 2) for code, share in found.units.items()}
    (True, {'AU6': 0.33, 'AU12': 0.67})
    >>> {word: round(share, 2) for word, share in found.emotions.items()}
    {'happiness': 0.67}
    """
    units = Counter(number for answer in answers for number in answer.aus)
    emotions = _named(answers)
    most = {number for number, count in units.items() if 2 * count > len(answers)}
    named = max(emotions.values(), default=0)
    leading = [answer for answer in answers if not emotions or emotions[answer.emotion or ""] == named]
    readable = [answer for answer in leading if answer.well_formed] or leading
    return Vote(
        min(readable, key=lambda answer: len(answer.aus ^ most)),
        {f"AU{number}": units[number] / len(answers) for number in sorted(units)},
        {word: emotions[word] / len(answers) for word in sorted(emotions)},
    )


def agreement(answer: Answer, others: Sequence[Answer]) -> float:
    """The vote of an answer: the share of others that name the same emotion; 0 if it names none.

    Args:
        answer: the one that is judged.
        others: sampled about the same face, one at least.
    """
    return _named(others)[answer.emotion or ""] / len(others)


def _named(answers: Sequence[Answer]) -> Counter[str]:
    """By emotion, how many answers name it; 0 for any other."""
    return Counter(answer.emotion for answer in answers if answer.emotion)
