"""Finds the Action Units that a text mentions, and whether it claims them.

A mention is read in the forms people and models write: "AU12", "AU 12", "AU06", "action unit 12", sided "AUL12", graded
"AU12C", and lists that name the prefix once: "AUs 6 and 12", "AU6+12", "AU12/AU6". A list is judged as a whole: "no AU1 or
AU2" denies both, "AU1 and AU4 are absent" too, "maybe AU4" is hedged. Every pattern is bounded, so that the time grows
with the length of the text and not faster, whatever a policy under training may write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Mention(NamedTuple):
    """One Action Unit named in a text.

    Attributes:
        number: FACS number, 1 to 99; it need not be in the table.
        side: "L" or "R" of the person's face, or "".
        grade: intensity "A" to "E", or "".
        span: first character and end (exclusive) in the text.
        claimed: False if the text denies the unit ("no AU12") or only supposes it ("maybe AU12").
    """

    number: int
    side: str
    grade: str
    span: tuple[int, int]
    claimed: bool


# "06", "L12", "12C", "R12A", "12L": sides before or after, a grade after; not the start of a longer number or word.
_ITEM = r"(?P<side>[LR]?)0*(?P<number>[1-9]\d?)(?P<tail>[A-ELR]?)(?!\w|\.\d|%)"
_PREFIX = r"(?:AUs?|action\s{1,3}units?)[\s_:#-]{0,3}"
_HEAD = re.compile(rf"(?<![A-Za-z])(?P<code>{_PREFIX}{_ITEM})", re.IGNORECASE)
# The next item of a list, after "and", "," or "+"; a name in parentheses may stand between: "AU1 (inner brow raiser), AU2".
_NEXT = re.compile(
    rf"(?:\s{{0,2}}\([^()]{{0,60}}\))?\s{{0,3}}(?:(?:[,/+&]|(?:and|or|nor|plus)\b)\s{{0,3}}){{1,2}}(?P<code>(?:{_PREFIX})?{_ITEM})",
    re.IGNORECASE,
)

_WINDOW = 100  # characters around a list that can change what it says: about one clause
_CLAUSE_START = re.compile(r"[.;!?\n,]|\b(?:and|but|however|although|though|while|whereas|yet)\b", re.IGNORECASE)
_DENIES = re.compile(
    r"\b(?:no(?! doubt| less)|not(?! only| just| merely)|without|never|neither|nor|none|lack(?:s|ing)?|absence|absent|missing"
    r"|free of|cannot|can['\u2019]t|(?:is|are|was|were|does|do|did)n['\u2019]t|rather than|instead of|rul(?:es?|ed|ing) out"
    r"|exclud(?:es?|ed|ing)|unlikely)\b",
    re.IGNORECASE,
)
_SUPPOSES = re.compile(
    r"\b(?:maybe|perhaps|possibl[ey]|probabl[ey]|potential(?:ly)?|presumably|likely|might|may|could|would|seemingly|unclear"
    r"|uncertain|hints? of|(?<!as )if)\b",
    re.IGNORECASE,
)
_IS = (
    r"(?:(?:,\s{0,2})?(?:which|that)\s)?(?:is|are|was|were|seems?|appears?|remains?|looks?)?\s{0,2}"
    r"(?:to\sbe\s)?(?:\w{1,12}ly\s)?(?:both\s|all\s)?"
)
_SHOWN = (
    r"(?:present|visible|active|activated|seen|observed|detected|evident|apparent|there|shown|engaged|involved|found"
    r"|discernible|noticeable)"
)
_THEN_DENIED = re.compile(
    rf"(?:\s{{0,2}}\([^()]{{0,60}}\))?[\s,:(\u2013\u2014-]{{0,3}}{_IS}"
    r"(?:absent|missing|lacking|inactive|undetected"
    r"|(?:do|does|did)(?:\snot|n['\u2019]t)\s(?:\w{1,12}ly\s)?(?:appear|show|occur|seem)"
    r"|(?:not|no\slonger|(?:is|are|was|were)n['\u2019]t|cannot\sbe|can['\u2019]t\sbe|never)\s{1,2}"
    rf"(?:to\sbe\s)?(?:\w{{1,12}}ly\s)?{_SHOWN})\b",
    re.IGNORECASE,
)
_THEN_SUPPOSED = re.compile(
    rf"(?:\s{{0,2}}\([^()]{{0,60}}\))?\s{{0,2}}(?:\?|\(\s{{0,2}}(?:\?|possibl[ey]|maybe|perhaps|probabl[ey])"
    rf"|(?:might|may|could)\s(?:also\s|well\s)?be\s{_SHOWN}|{_IS}(?:possible|uncertain|unclear|questionable|doubtful)\b"
    # "AU4 is probably present" and "AU4, perhaps." suppose the unit; "AU12 probably means joy" supposes what it means.
    rf"|,?\s{{0,2}}{_IS}(?:possibly|probably|likely|maybe|perhaps|potentially|presumably)"
    rf"(?:\s(?:also\s)?{_SHOWN}\b|\s{{0,2}}(?:[.,;:)!?\n]|$)))",
    re.IGNORECASE,
)


def find_mentions(text: str) -> list[Mention]:
    """All mentions of Action Units in a text, in order.

    Args:
        text: any string.

    Returns:
        One record per mention; empty if there is none.
    """
    mentions: list[Mention] = []
    previous_end = 0
    for items in _lists(text):
        start, end = items[0].start(), items[-1].end()
        claimed = _claimed(text, previous_end, start, end)
        mentions += [_mention(item, claimed) for item in items]
        previous_end = end
    return mentions


def _lists(text: str) -> Iterator[list[re.Match[str]]]:
    """Runs of mentions joined by nothing but "and", commas and the like."""
    position = 0
    while item := _HEAD.search(text, position):
        items = [item]
        while item := _NEXT.match(text, items[-1].end()):
            items.append(item)
        yield items
        position = items[-1].end()


def _claimed(text: str, previous_end: int, start: int, end: int) -> bool:
    """Whether the clause around text[start:end] neither denies nor supposes it."""
    before = text[max(previous_end, start - _WINDOW) : start]
    clause = before[max((m.start() for m in _CLAUSE_START.finditer(before)), default=0) :]
    after = text[end : end + _WINDOW]
    return not (
        _DENIES.search(clause) or _SUPPOSES.search(clause) or _THEN_DENIED.match(after) or _THEN_SUPPOSED.match(after)
    )


def _mention(item: re.Match[str], claimed: bool) -> Mention:
    tail = item["tail"].upper()
    side = item["side"].upper() or (tail if tail in ("L", "R") else "")
    grade = tail if tail and tail not in ("L", "R") else ""
    return Mention(int(item["number"]), side, grade, item.span("code"), claimed)
