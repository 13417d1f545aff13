"""Finds where a text names Action Units, in the forms that people and models write.

A unit is named by its code ("AU12", "au_06", "AUL12C", "AU04_r", "action unit 12"), by a list with one prefix ("AUs 6
and 12", "AU6+12", "AU: [4, 7]", "Action units present: 9, 15"; a range such as "AU1-2" is a list of two), by its name with its
number ("cheek raiser (6)"), by its name alone where the table calls the unit a doer ("the cheek raiser", but not "lips part",
which plain prose says of lips), and by a bare number in a table's column of units. Every pattern is bounded, so that the time
grows with the length of the text and not faster, whatever a policy under training may write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from fea.facs import ACTION_UNITS


class Item(NamedTuple):
    """One unit named: FACS number, side "L", "R" or "", grade "A" to "E" or "", first character and end of the code."""

    number: int
    side: str
    grade: str
    span: tuple[int, int]


class Spot(NamedTuple):
    """Units named in one breath, "AU6, AU12 and 25": whatever is said of them is said of all.

    Attributes:
        items: the units, in order.
        start: first character of what names them; the title of a list ("AUs absent: 4, 5") stands before it.
        end: end, with the units' own names behind their codes.
        defined: a single code that is followed by its own name as in a glossary ("AU6: cheek raiser").
        joints: what stands between the items: ",", "and", "+", ...
    """

    items: tuple[Item, ...]
    start: int
    end: int
    defined: bool = False
    joints: tuple[str, ...] = ()


# What looks different and means the same becomes one character, so that places in the text stay the same.
_SAME: dict[int, str] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width forms lie at this distance from ASCII
    **dict.fromkeys(map(ord, '*`"\u201c\u201d\u201e\u00ab\u00bb$\\{}~^\u00a0\u2009\u200b\ufeff\t'), " "),
    **dict.fromkeys(map(ord, "\u2018\u2019"), "'"),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-"),
    **dict.fromkeys(map(ord, "\u2192\u21d2\u2794\u279c"), ":"),
    **dict.fromkeys(map(ord, "\u2714\u2611\u2705"), "\u2713"),
    **dict.fromkeys(map(ord, "\u2718\u2610\u274c\u2716\u00d7\u2b1c"), "\u2717"),
    **{ord(mark): plain for mark, plain in zip("\u3001\u3002\u300c\u300d\u3010\u3011", ",.()()", strict=True)},
}


def plain(text: str) -> str:
    """The text without markup, its dashes, quotes, arrows and ticks each of one kind; every place stays where it was."""
    return text.translate(_SAME)


_NAMES = {unit.name: number for number, unit in ACTION_UNITS.items()}
_ANY_NAME = "|".join(re.escape(name) for name in sorted(_NAMES, key=len, reverse=True))
_DOER = re.compile(r"(?:er|or)$")

# "06", "L12", "12C", "12L", "04_r", "4_brow_lowerer"; not the start of a longer number, word or percentage.
_ITEM = (
    r"(?P<side>[LR]?)0{0,3}(?P<number>[1-9][0-9]?)(?P<tail>[A-ELR]?)(?:_[a-z]{2,12}(?:_[a-z]{2,12}){0,3})?"
    r"(?![A-Za-z0-9]|_(?![rc]\b)|[.][0-9]|%)"
)
_PREFIX = r"(?:AUs?|UAs?|action\s{1,3}units?|\u52a8\u4f5c\u5355[\u5143\u4f4d]|\u8fd0\u52a8\u5355\u5143)"
# "Action units present: 9", "the AUs that I see are 6", "FACS: 6+12"; what is said between is read with what stands before.
_LIST_OF = (
    r"(?:(?:AUs|action\s{1,3}units|(?:(?:in)?active|visible|present|absent|detected)\sunits)(?:\s{1,2}(?!at\b)[a-z]{1,12}){0,4}"
    r"\s{0,2}(?:[:=]|\b(?:are|were|include))|FACS(?:\s(?:codes?|units?))?\s?[:=]?)\s{0,2}\[?\s{0,2}"
)
_HEAD = re.compile(rf"(?<![A-Za-z])(?:(?P<list>{_LIST_OF})|{_PREFIX}[\s_:#=\[(-]{{0,4}}){_ITEM}", re.IGNORECASE)

# A remark in brackets may stand between the items of a list, unless it says something about the one before it.
_REMARK = (
    r"(?:\s{0,2}\((?![^()]{0,60}(?:[0-9?\u2713\u2717]|\b(?:[a-e]|yes|no|not|none|true|false|absent|present|active|inactive|detected"
    r"|visible|likely|possibl[ey]|probably|maybe|perhaps|intensity|level|score|value|confidence|probability)\b))[^()]{0,60}\))"
)
_JOINT = (
    r"(?P<joint>(?:[,/+&]|(?:and|or|nor|plus|y|et|e|und)\b|[\u548c\u3068\u53ca\u4e0e]){1}(?:\s{0,3}(?:and|or|nor)\b)?)"
)
# A number without prefix is a unit unless it counts something: "AU12 and 2 folds", "AU12, 4/5".
_COUNTS = (
    r"(?!\s?/\s?(?:5|10|100)\b)(?!\s{1,3}(?!(?:is|are|was|were|both|all|do|does|show|shows|appear|appears|indicate|indicates|suggest"
    r"|suggests|point|mean|which|that|with|without|in|on|as|at|to|and|or|nor|but|together|here|because|since|present|absent"
    r"|visible|active)\b)[A-Za-z])"
)
_NEXT_CODED = rf"\s{{0,3}}{_JOINT}\s{{0,3}}(?P<code>{_PREFIX}[\s_:#-]{{0,3}}{_ITEM})"
_NEXT_BARE = rf"\s{{0,3}}{_JOINT}\s{{0,3}}(?P<code>{_ITEM})"
_RANGE = rf"(?P<joint>-)(?P<code>(?:{_PREFIX})?{_ITEM})"


def _either(*patterns: str) -> tuple[re.Pattern[str], ...]:
    # OpenFace writes AU12_r for an intensity and AU12_c for presence.
    return tuple(re.compile(rf"(?:_[rc]\b)?{_REMARK}?{pattern}", re.IGNORECASE) for pattern in patterns)


_NEXT = _either(_NEXT_CODED, _NEXT_BARE.replace("[1-9][0-9]?", "[2-9]|[1-9][0-9]") + _COUNTS, _RANGE)
_NEXT_OF_LIST = _either(_NEXT_CODED, _NEXT_BARE, _RANGE, rf"\s{{0,2}}(?P<joint>;)\s{{0,2}}(?P<code>{_ITEM})")

_OWN_NAME = re.compile(rf"(?P<sign>[\s:=|_-]{{0,4}}[(]?)\s?(?P<name>{_ANY_NAME})(?![A-Za-z])[)\]]?", re.IGNORECASE)
_OWN_REMARK = re.compile(_REMARK, re.IGNORECASE)
_GLOSSED = re.compile(r"\s?[:=-]\s?$")
_NAMED = re.compile(
    rf"(?<![A-Za-z_])(?P<name>{_ANY_NAME})s?(?![A-Za-z_])(?P<bracket>\s?\(\s?0?(?P<number>[1-9][0-9]?)\s?\))?"
    rf"(?P<coded>[\s(:,-]{{0,3}}{_PREFIX}[\s_:#-]{{0,3}}[LR]?0?[1-9])?",
    re.IGNORECASE,
)


def spots(text: str) -> list[Spot]:
    """All places of a text, as `plain` leaves it, that name Action Units, in order and without overlap."""
    found, position = [], 0
    for spot in sorted([*_lists(text), *_names(text), *_cells(text)], key=lambda spot: spot.start):
        if spot.start >= position:
            found.append(spot)
            position = spot.end
    return found


def _lists(text: str) -> Iterator[Spot]:
    """Codes joined by nothing but "and", commas and the like."""
    position = 0
    while head := _HEAD.search(text, position):
        items, joints = [_item(head, head.start())], list[str]()
        following = _NEXT_OF_LIST if head["list"] or head[0][:3].lower() == "aus" else _NEXT
        end = head.end()
        while match := next(filter(None, (pattern.match(text, end) for pattern in following)), None):
            items.append(_item(match, match.start("code")))
            joints.append(match["joint"])
            end = match.end()
        own = _OWN_NAME.match(text, end)
        defined = own is not None and len(items) == 1 and _GLOSSED.match(own["sign"]) is not None
        remark = own or _OWN_REMARK.match(text, end)
        end = remark.end() if remark else end
        start = head.end("list") if head["list"] else head.start()
        yield Spot(tuple(items), start, end, defined, tuple(joints))
        position = end


def _item(match: re.Match[str], start: int) -> Item:
    tail = match["tail"].upper()
    side = match["side"].upper() or (tail if tail in ("L", "R") else "")
    end = match.end("tail")
    return Item(int(match["number"]), side, "" if tail in ("L", "R") else tail, (start, end))


def _names(text: str) -> Iterator[Spot]:
    """Names with their own number in brackets, and names of doers without any code."""
    for match in _NAMED.finditer(text):
        number = _NAMES[match["name"].lower()]
        numbered = match["number"] is not None and int(match["number"]) == number
        if not match["coded"] and (numbered or (match["number"] is None and _DOER.search(match["name"]))):
            yield Spot((Item(number, "", "", match.span()),), match.start(), match.end())


_TITLE = re.compile(r"\s*(?:AUs?|action units?|units?|codes?)\s*", re.IGNORECASE)
_NUMBERS = re.compile(r"\s*[0-9]{1,2}(?:\s?[,;+/&]\s?[0-9]{1,2}){0,20}\s*")


def _cells(text: str) -> Iterator[Spot]:
    """Bare numbers in a column of a table whose title speaks of Action Units."""
    column, start = None, 0
    for line in text.splitlines(keepends=True):
        cells = line.split("|") if "|" in line else []
        titled = next((i for i, cell in enumerate(cells) if _TITLE.fullmatch(cell)), None)
        column = titled if titled is not None else column if cells else None
        if titled is None and column is not None and column < len(cells) and _NUMBERS.fullmatch(cells[column]):
            begin = start + sum(len(cell) + 1 for cell in cells[:column])
            numbers = [(int(n[0]), n.start() + begin, n.end() + begin) for n in re.finditer("[0-9]+", cells[column])]
            items = tuple(Item(number, "", "", (first, end)) for number, first, end in numbers if number)
            if items:
                yield Spot(items, items[0].span[0], items[-1].span[1])
        start += len(line)
