"""What stands where on a picture: the record that both renderers read, and lines of text that fit into a width.

Coordinates and sizes are in units of an SVG: x to the right, y down, from the upper left corner.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL import Image

from fea.pictures.fonts import printable, width


class Rectangle(NamedTuple):
    """A filled area; its corners are rounded by `radius`."""

    x: float
    y: float
    width: float
    height: float
    color: str
    radius: float = 0


class Text(NamedTuple):
    """A text of one line.

    Attributes:
        x: where it begins.
        y: of its base line.
        width: that it takes.
        content: without control characters.
        size: of the font.
        color: of the letters.
        bold: in heavy letters.
        dotted: with a dotted line below it.
    """

    x: float
    y: float
    width: float
    content: str
    size: float
    color: str
    bold: bool = False
    dotted: bool = False


class Photo(NamedTuple):
    """A picture within the picture, as large as it fits into a square."""

    x: float
    y: float
    side: float
    image: Image.Image
    told: str


class Layout(NamedTuple):
    """A whole picture: what comes later lies above what came before."""

    width: float
    height: float
    items: list[Rectangle | Text | Photo]


class Span(NamedTuple):
    """A part of a text that looks as one.

    Attributes:
        content: its characters.
        color: of the letters.
        fill: behind them; "" for none.
        bold: in heavy letters.
        dotted: with a dotted line below it.
    """

    content: str
    color: str
    fill: str = ""
    bold: bool = False
    dotted: bool = False


class Placed(NamedTuple):
    """A part of a line: where it begins in the line, and how wide it is."""

    x: float
    width: float
    span: Span


def written(x: float, y: float, content: str, size: float, color: str, bold: bool = False) -> Text:
    """A text of one line, measured."""
    content = printable(content)
    return Text(x, y, width(content, size, bold), content, size, color, bold)


def wrapped(spans: Sequence[Span], size: float, most: float) -> list[list[Placed]]:
    """A text in lines that are no wider than `most`, broken between words; within one that is wider than a line.

    Args:
        spans: of the text; a line end in it ends the line.
        size: of the font.
        most: width of a line.
    """
    lines: list[list[Placed]] = [[]]
    x = 0.0
    for part in _parts(spans, size, most):
        wide = sum(width(span.content, size, span.bold) for span in part)
        blank = all(not span.content.strip() for span in part)
        if part[0].content == "\n" or (x + wide > most and not blank):
            lines.append([])
            x = 0.0
        if part[0].content == "\n" or (blank and not lines[-1]):
            continue
        for span in part:
            wide = width(span.content, size, span.bold)
            lines[-1].append(Placed(x, wide, span))
            x += wide
    return [_joined(line) for line in lines]


def _parts(spans: Sequence[Span], size: float, most: float) -> Iterator[list[Span]]:
    """What is never broken: words, with the punctuation that another span begins with, blanks, and line ends, one by one."""
    word: list[Span] = []
    for span in spans:
        for token in _TOKENS.findall(span.content):
            if token in ("\r\n", "\r", "\n"):
                yield from _fitting(word, size, most)
                word = []
                yield [span._replace(content="\n")]
                continue
            told = span._replace(content=printable(token))
            if token.isspace() or _stands_alone(token):
                yield from _fitting(word, size, most)
                word = []
                yield [told]
            else:
                word.append(told)
    yield from _fitting(word, size, most)


# Scripts without spaces may be broken at each character; but no line begins with a mark that closes.
_WIDE = "\u2e80-\u3001\u3003-\ua4cf\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003fffd"
_CLOSING = "\u3001\u3002\uff01\uff09\uff0c\uff0e\uff1a\uff1b\uff1f\u300d\u300f\u3011"
_TOKENS = re.compile(rf"\r\n|\r|\n|[^\S\r\n]+|[{_WIDE}][{_CLOSING}]*|[^\s{_WIDE}]+")


def _stands_alone(token: str) -> bool:
    return unicodedata.east_asian_width(token[0]) in "WF" and len(token.rstrip(_CLOSING)) <= 1


def _fitting(word: list[Span], size: float, most: float) -> Iterator[list[Span]]:
    """A word; in pieces if it is wider than a line."""
    if not word:
        return
    if sum(width(span.content, size, span.bold) for span in word) <= most:
        yield word
        return
    for span in word:
        piece = ""
        for character in span.content:
            longer = piece + character
            if piece and not unicodedata.combining(character) and width(longer, size, span.bold) > most:
                yield [span._replace(content=piece)]
                longer = character
            piece = longer
        yield [span._replace(content=piece)]


def _joined(line: list[Placed]) -> list[Placed]:
    """Neighbors that look alike as one; blanks at the end of a line are left out."""
    found: list[Placed] = []
    for placed in line:
        last = found[-1] if found else None
        if last and placed.span._replace(content="") == last.span._replace(content=""):
            content = last.span.content + placed.span.content
            found[-1] = Placed(last.x, placed.x + placed.width - last.x, last.span._replace(content=content))
        else:
            found.append(placed)
    while found and not found[-1].span.content.strip():
        found.pop()
    return found
