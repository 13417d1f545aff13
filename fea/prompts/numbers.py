"""Numbers beside words: grades of Action Units in the thinking, valence and arousal in the answer.

    <think>The lip corners go up (AU12C).</think><answer>happiness; valence 0.7; arousal 0.3</answer>

Grades are the letters of FACS, A (trace) to E (maximum), which are 1 to 5; a unit that does not show is 0. Valence, from
unpleasant to pleasant, and arousal, from calm to excited, are in [-1, 1].

What was asked for and cannot be read counts as the middle of its range: 0, or C for the grade of a claimed unit. So it is never
dropped, and a model gains nothing by saying what nobody understands.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from fea.errors import FEAError
from fea.prompts.spotting import plain

Number = Literal["valence", "arousal", "intensity"]
Numbers = tuple[Number, ...]
AFFECT: tuple[Number, ...] = ("valence", "arousal")  # those that stand in the answer
NUMBERS: tuple[Number, ...] = (*AFFECT, "intensity")
GRADES = "ABCDE"  # 1 to 5
MIDDLE = {"valence": 0.0, "arousal": 0.0, "intensity": 3.0}

# "0.7", "+.7", "0,7", "70 %", "minus 0.7"; not "1e-1", "7/10", "0.1 to 0.3", "0.7.1", of which nobody knows what is meant.
_VALUE = (
    r"(?P<sign>[+-]|\b(?:minus|negative|plus|positive)\b)?\s{0,2}(?P<digits>[0-9]{1,3}(?:[.,][0-9]{1,12})?|[.][0-9]{1,12})"
    r"(?:\s?(?P<percent>%))?(?![\w%]|[.,][0-9]|\s{0,2}(?:-|/|\u00b1|\.\.|to\b|out\b|of\b)\s{0,2}[0-9])"
)
# A letter alone is a name where a sign stands behind it: "V=0.7", but not "a 5 cm smile".
_NAMED = re.compile(
    r"(?<![^\W_])(?P<name>valence|arousal|val|aro|[va](?=\s{0,2}[:=]))(?![^\W_])"
    rf"(?:\s?(?:score|level|value|rating))?\s{{0,3}}(?P<sign_of>(?:[:=\u2248(\[]|is\b|of\b|at\b|about\b)\s{{0,3}}){{0,3}}"
    rf"(?:(?P<value>{_VALUE})|(?(sign_of)(?!val|aro)[a-z]{{1,12}}\b))?[)\]]?",  # "valence: neutral" is no second emotion
    re.IGNORECASE,
)
_NAMES: dict[str, Number] = {"v": "valence", "a": "arousal"}  # by first letter
_BEFORE = re.compile(r"[\s;,(\[{|/]+$")


def read_affect(text: str) -> tuple[dict[Number, float], str]:
    """The valence and the arousal that an answer tells.

    >>> read_affect("happiness; valence 0.7; arousal -0,3")
    ({'valence': 0.7, 'arousal': -0.3}, 'happiness')
    >>> read_affect("Fear (V: -60%, A = 1.4)")[0]
    {'valence': -0.6}

    Read are a decimal point or comma, a sign as such or as a word, percent, markup and JSON around it. Not read, and so left
    out: a number outside of [-1, 1], a range, a fraction, a word, and one that is told twice and differently.

    Args:
        text: what stands in the answer block.

    Returns:
        By name what can be read; and the text without all that speaks of them.
    """
    words = plain(text)
    found: dict[Number, set[float | None]] = {}
    kept, position = "", 0
    for match in _NAMED.finditer(words):
        found.setdefault(_NAMES[match["name"][0].lower()], set()).add(_value(match))
        kept += _BEFORE.sub("", text[position : match.start()]) + " "
        position = match.end()
    if not found:
        return {}, text
    told = {name: values.pop() for name, values in found.items() if len(values) == 1}
    return {name: value for name, value in told.items() if value is not None}, (kept + text[position:]).strip()


def _value(match: re.Match[str]) -> float | None:
    """The number of a match; None if it has none, or one out of range."""
    if match["value"] is None:
        return None
    value = float(match["digits"].replace(",", ".")) / (100 if match["percent"] else 1)
    value = -value if (match["sign"] or "").lower() in ("-", "minus", "negative") else value
    return value + 0.0 if -1 <= value <= 1 else None  # no zero has a sign


def written_affect(emotion: str, told: Mapping[Number, float]) -> str:
    """The content of an answer: `read_affect` gives both back, the numbers with one decimal, which is as sure as raters are.

    Args:
        emotion: in words.
        told: valence and arousal; what is missing is not written.
    """
    parts = [f"{name} {round(told[name], 1) + 0.0:.1f}" for name in AFFECT if name in told]
    return "; ".join([emotion, *parts])


def letter_of(grade: float) -> str:
    """The letter of a grade; "" where the unit does not show."""
    nearest = int(grade + 0.5)  # halves go up, where `round` would take 0.5 to 0 and 2.5 to 2
    return GRADES[min(nearest, 5) - 1] if nearest > 0 else ""


def grade_of(letter: str) -> float:
    """The grade of a letter; the middle where there is none."""
    return float(GRADES.index(letter.upper()) + 1) if letter else MIDDLE["intensity"]


def check_affect(setting: str, names: Sequence[str]) -> Numbers:
    """Names of dimensions that a setting lists.

    Raises:
        FEAError: there is none, or no such one.
    """
    if not names or not set(names) <= set(AFFECT):
        raise FEAError(f"{setting}: {list(names)}; list {' or '.join(AFFECT)}, or both")
    return in_order(names)


def in_order(numbers: Collection[str]) -> Numbers:
    """The same without doubles, in the order in which they are listed everywhere."""
    return tuple(number for number in NUMBERS if number in numbers)
