"""The picture of one answer, laid out: everything is measured before it is placed, so that nothing overlaps or is cut.

    title, and what the answer is worth                       emotion, with bars
    +-----------+  +-----------+                              Action Units, with bars
    |   face    |  | schematic |
    +-----------+  +-----------+
    the reasoning, its Action Units in the colors of theirs

The columns grow downward by what they hold, and the picture with the longer one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from PIL import Image

from fea.facs import ACTION_UNITS
from fea.pictures.fonts import width
from fea.pictures.layout import Layout, Photo, Rectangle, Span, Text, wrapped, written
from fea.pictures.schematic import claimed, remarks
from fea.prompts.mentions import Mention, find_mentions

_INK, _SOFT, _FAINT, _PAPER = "#1d2733", "#5a6673", "#e6e9ed", "#ffffff"
# A unit has the color of its region, dark enough for text on white, and a light one to lie behind it.
REGIONS = {
    "brow": ("#1f5fa8", "#dce9f8"),
    "eye": ("#0b7285", "#d5f0f4"),
    "cheek": ("#a8501a", "#fbe6d6"),
    "nose": ("#6741a5", "#e9e0f8"),
    "mouth": ("#b02a4c", "#fadfe6"),
    "chin": ("#6d5410", "#f4eac8"),
    "jaw": ("#4f6320", "#e8f0d0"),
}
_ELSEWHERE = ("#4a5560", "#e6e9ed")  # neck, head and gaze, and numbers that are no unit

_EDGE, _GAP = 28.0, 20.0  # around all, and between what lies side by side
_SIDE = 300.0  # of the two faces
_LEFT = 2 * _SIDE + _GAP
_RIGHT = 400.0
_SIZE, _LEADING = 15.0, 23.0  # of the text, and from line to line
_SMALL = 12.5
_BAR = 96.0  # a share of all votes
_CHIP = 64.0  # from the code of a unit to its name: room for "AU99", and a little more
_PIXELS = 600  # of the drawn face: twice its side, for screens of that many


class Told(NamedTuple):
    """What a picture tells.

    Attributes:
        title: such as the name of the file.
        face: what the model looked at.
        aus: codes of the units that the answer claims.
        emotion: the answer's; "" if it names none.
        reasoning: the thinking.
        votes: by code, the share of answers that claim it; empty without votes.
        emotion_votes: by emotion, likewise.
        numbers: "valence 0.7, arousal 0.3", as the answer tells them; "" for none.
        note: what one has to know beside it, such as that the answer is not well-formed; "" for nothing.
    """

    title: str
    face: Image.Image
    aus: Sequence[str]
    emotion: str
    reasoning: str
    votes: Mapping[str, float] = {}
    emotion_votes: Mapping[str, float] = {}
    numbers: str = ""
    note: str = ""


def color_of(number: int) -> tuple[str, str]:
    """Colors of a unit: of letters, and behind them."""
    unit = ACTION_UNITS.get(number)
    return REGIONS.get(unit.region, _ELSEWHERE) if unit else _ELSEWHERE


def composed(told: Told) -> Layout:
    """The picture of an answer."""
    head = _Column(_EDGE, _EDGE, _LEFT + 2 * _GAP + _RIGHT)
    head.line(told.title, 20, _INK, bold=True)
    if told.note:
        head.line(told.note, _SMALL, "#7c1a12")
    column = _Column(_EDGE, head.y + 8, _LEFT)
    other = _Column(_EDGE + _LEFT + 2 * _GAP, column.y, _RIGHT)
    _faces(column, told)
    _reasoning(column, told.reasoning)
    _emotions(other, told)
    _units(other, told)
    height = max(column.y, other.y) + _EDGE
    whole = other.x + _RIGHT + _EDGE
    return Layout(whole, height, [Rectangle(0, 0, whole, height, _PAPER), *head.items, *column.items, *other.items])


class _Column:
    """What stands below each other, from `y` downward."""

    def __init__(self, x: float, y: float, wide: float):
        self.x, self.y, self.wide = x, y, wide
        self.items: list[Rectangle | Text | Photo] = []

    def line(self, content: str, size: float, color: str, bold: bool = False) -> None:
        """A text in as many lines as it takes."""
        self.text([Span(content, color, bold=bold)], size, size * 1.4)

    def heading(self, content: str) -> None:
        """What the lines below are about."""
        self.line(content, _SMALL, _SOFT, bold=True)
        self.y += 4

    def text(self, spans: Sequence[Span], size: float, leading: float) -> None:
        """A text in lines of a height."""
        for line in wrapped(spans, size, self.wide):
            base = self.y + leading / 2 + size * 0.36  # letters are about 0.72 of the size high
            for x, wide, span in line:
                if span.fill:
                    height = size * 1.3
                    top = self.y + (leading - height) / 2
                    self.items.append(Rectangle(self.x + x - 1.5, top, wide + 3, height, span.fill, 3))
                text = Text(self.x + x, base, wide, span.content, size, span.color, span.bold, span.dotted)
                self.items.append(text)
            self.y += leading

    def bar(self, x: float, share: float, color: str, middle: float) -> None:
        """A share of a whole, and its number behind it."""
        self.items.append(Rectangle(x, middle - 5, _BAR, 10, _FAINT, 5))
        if share > 0:
            self.items.append(Rectangle(x, middle - 5, max(10.0, _BAR * min(1.0, share)), 10, color, 5))
        self.items.append(written(x + _BAR + 8, middle + 4.5, f"{share:.2f}", _SMALL, _SOFT))


def _faces(column: _Column, told: Told) -> None:
    """The photograph, and beside it what the answer says it shows."""
    numbers = [int(code.removeprefix("AU")) for code in told.aus]
    grades = dict.fromkeys(numbers, "")
    grades |= {m.number: m.grade for m in find_mentions(told.reasoning) if m.claimed and m.number in grades}
    beside = column.x + _SIDE + _GAP
    column.items.append(Photo(column.x, column.y, _SIDE, told.face, "the face"))
    column.items.append(Photo(beside, column.y, _SIDE, claimed(grades, _PIXELS), "what the model says it saw"))
    captions = []
    for x, lines in ((column.x, ["what the model looked at"]), (beside, ["what it says it saw", *remarks(numbers)])):
        caption = _Column(x, column.y + _SIDE + 4, _SIDE)
        for line in lines:
            caption.line(line, _SMALL, _SOFT)
        captions.append(caption)
        column.items += caption.items
    column.y = max(caption.y for caption in captions) + 14


def _reasoning(column: _Column, reasoning: str) -> None:
    column.heading("Reasoning")
    if reasoning.strip():
        column.text(list(_colored(reasoning)), _SIZE, _LEADING)
    else:
        column.line("none was written", _SIZE, _SOFT)


def _colored(text: str) -> Iterator[Span]:
    """The text with its units in their colors; those that it denies or only supposes are gray above dots."""
    position = 0
    for start, end, mention in _places(text):
        yield Span(text[position:start], _INK)
        if mention.claimed:
            yield Span(text[start:end], *color_of(mention.number), bold=True)
        else:
            yield Span(text[start:end], _SOFT, dotted=True)
        position = end
    yield Span(text[position:], _INK)


def _places(text: str) -> Iterator[tuple[int, int, Mention]]:
    """Mentions with their first characters and ends; of those at one place, such as both sides of a unit, the first."""
    end = 0
    for mention in find_mentions(text):
        if mention.span[0] >= end:
            yield *mention.span, mention
            end = mention.span[1]


def _emotions(column: _Column, told: Told) -> None:
    column.heading("Emotion")
    column.line(told.emotion or "none is named", 20, _INK if told.emotion else _SOFT, bold=True)
    if told.numbers:
        column.line(told.numbers, _SIZE, _SOFT)
    shares = sorted(told.emotion_votes.items(), key=lambda entry: (-entry[1], entry[0]))
    for name, share in shares:
        strong = name == told.emotion
        _row(column, Span(name, _INK, bold=strong), share, "#4a6fa5" if strong else "#a9b8cc")
    column.y += 16


def _units(column: _Column, told: Told) -> None:
    """Chips of the claimed units, and of all that have votes."""
    column.heading("Action Units")
    codes = sorted({*told.aus, *told.votes}, key=lambda code: int(code.removeprefix("AU")))
    for code in codes:
        number = int(code.removeprefix("AU"))
        unit = ACTION_UNITS.get(number)
        said = code in told.aus
        color, fill = color_of(number) if said else (_SOFT, _FAINT)
        chip = written(column.x + 6, column.y + 18, code, 13.5, color, bold=True)
        column.items += [Rectangle(column.x, column.y + 3, chip.width + 12, 20, fill, 4), chip]
        name = Span(unit.name if unit else "no unit of the table", _INK if said else _SOFT)
        share = told.votes.get(code, 0.0) if told.votes else None
        _row(column, name, share, color, indent=_CHIP)
    if not codes:
        column.line("none is claimed", _SIZE, _SOFT)


def _row(column: _Column, name: Span, share: float | None, color: str, indent: float = 0) -> None:
    """Words at the left, and at the right the bar of a share, if there is one."""
    room = _BAR + 8 + width("0.00", _SMALL)
    taken = indent if share is None else indent + room + _GAP
    part = _Column(column.x + indent, column.y, column.wide - taken)
    part.text([name], _SIZE, 26)
    if share is not None:
        part.bar(column.x + column.wide - room, share, color, column.y + 13)
    column.items += part.items
    column.y = part.y
