"""The Action Units that a text mentions, and whether it claims them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from fea.prompts.claims import judge
from fea.prompts.rules import Verdict
from fea.prompts.spotting import Spot, plain, spots


class Mention(NamedTuple):
    """One Action Unit named in a text.

    Attributes:
        number: FACS number, 1 to 99; it need not be in the table.
        side: "L" or "R" of the person's face, or "".
        grade: intensity "A" to "E", or "".
        span: first character and end (exclusive) in the text.
        claimed: False if the text denies the unit ("no AU12"), only supposes it ("maybe AU12"), or takes it back later.
    """

    number: int
    side: str
    grade: str
    span: tuple[int, int]
    claimed: bool


def find_mentions(text: str) -> list[Mention]:
    """All mentions of Action Units in a text, in order.

    The last word about a unit counts: what is denied later was never claimed. A glossary ("AU6: cheek raiser; AU12: lip corner
    puller") claims nothing if the text goes on to say what the face shows.

    Args:
        text: any string.

    Returns:
        One record per mention; empty if there is none.
    """
    words = plain(text)
    said = judge(words, spots(words))
    glossary = _glossary(words, said)
    mentions: list[Mention] = []
    last_word: dict[tuple[int, str], bool] = {}
    for i, (spot, verdict) in reversed(list(enumerate(said))):
        claims = verdict == "claimed" and i not in glossary
        for item in reversed(spot.items):
            unit, whole = (
                (item.number, item.side),
                (item.number, ""),
            )  # what is denied of the unit is denied of its sides
            if claims or verdict == "denied":
                last_word.setdefault(unit, claims)
            mentions.append(Mention(*item, claims and last_word[unit] and last_word.get(whole, True)))
    return mentions[::-1]


_NOTHING_ELSE = re.compile(r"\s{0,3}(?:[.;,|)\n]|$)")


def _glossary(text: str, said: Sequence[tuple[Spot, Verdict]]) -> set[int]:
    """Indices of codes with their own names and nothing else, at least two of them, beside a claim that says more."""
    defined = {i for i, (spot, _) in enumerate(said) if spot.defined and _NOTHING_ELSE.match(text, spot.end)}
    more = any(verdict == "claimed" and i not in defined for i, (_, verdict) in enumerate(said))
    return defined if len(defined) > 1 and more else set()
