"""Fonts of this machine that have a glyph for whatever a model writes, and how wide a text is in them.

Pillow's own font has Latin letters alone, and no single font has all scripts. So each character is set in the first font that
has it: a plain one for most, and others, in the order of `_NAMES`, for what it lacks.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ImageFont

# Plain ones of Linux, Windows and macOS first, then those with many scripts. In a file's name, without its ending.
_NAMES = (
    *("DejaVuSans", "NotoSans-Regular", "LiberationSans-Regular", "segoeui", "arial", "Arial", "Helvetica", "FreeSans"),
    *(
        "NotoSansCJK.*Regular",
        "NotoSans[SJTK][CPCR]-Regular",
        "SourceHanSans.*Regular",
        "wqy-.*",
        "DroidSansFallback.*",
    ),
    *(
        "msyh",
        "YuGoth[MR]",
        "msgothic",
        "malgun",
        "PingFang",
        "Hiragino Sans GB",
        "ヒラギノ角ゴシック W3",
        "AppleSDGothicNeo",
    ),
    *(
        "Arial Unicode",
        "ARIALUNI",
        "NotoSans(?!.*(?:Italic|Bold|Black|Light|Thin|Medium|Condensed)).*",
        "Nirmala",
        "seguisym",
    ),
    *("unifont", "Symbola.*", "NotoEmoji-Regular"),
)
_BOLD = {
    "Arial": "Arial Bold",
    "DejaVuSans": "DejaVuSans-Bold",
    "FreeSans": "FreeSansBold",
    "LiberationSans-Regular": "LiberationSans-Bold",
    "NotoSans-Regular": "NotoSans-Bold",
    "arial": "arialbd",
    "segoeui": "segoeuib",
}
_MOST = 48  # fonts, each an open file: a machine may have thousands
# What an SVG asks for, whose reader may be another machine.
FAMILIES = (
    "'DejaVu Sans', 'Noto Sans', 'Segoe UI', Arial, 'Noto Sans CJK SC', 'Microsoft YaHei', 'PingFang SC', 'Malgun Gothic', "
    "sans-serif"
)
# Nothing is ever written there, in no font; what it looks like is what a font shows for what it lacks.
_NO_CHARACTER = "\U000efffd"


class Run(NamedTuple):
    """A stretch of text in one font; `file` is None for the font that Pillow brings along."""

    text: str
    file: str | None


def runs(text: str, bold: bool = False) -> Iterator[Run]:
    """A text of one line in stretches of one font each, without what no picture can show."""
    chosen: list[tuple[str, str | None]] = []
    for character in printable(text):
        # An accent stays with its letter, and a space with what it follows.
        joins = bool(chosen) and (character.isspace() or bool(unicodedata.combining(character)))
        chosen.append((character, chosen[-1][1] if joins else _file_of(character, bold)))
    for file, group in groupby(chosen, key=lambda pair: pair[1]):
        yield Run("".join(character for character, _ in group), file)


def printable(text: str) -> str:
    """A text without control characters and halves of characters, which stand for nothing and are refused in an SVG."""
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    kind = unicodedata.category(character)
    if kind in ("Cc", "Zl", "Zp"):
        return " "
    return "\ufffd" if kind == "Cs" or ord(character) & 0xFFFE == 0xFFFE else character


def width(text: str, size: float, bold: bool = False) -> float:
    """Of a text of one line at a font size, in the unit of the size."""
    # Measured large, since glyphs at small sizes are rounded to pixels.
    return sum(font(run.file, _MEASURED).getlength(run.text) for run in runs(text, bold)) * size / _MEASURED


_MEASURED = 64


@cache
def font(file: str | None, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font at a size in pixels."""
    return ImageFont.truetype(file, size) if file else ImageFont.load_default(size)


@cache
def lacking(character: str) -> bool:
    """Whether no font here has a glyph for it."""
    return not character.isspace() and not any(_has(file, character) for file in (*_files(), None))


@cache
def _file_of(character: str, bold: bool) -> str | None:
    found = (file for file in (*_files(), None) if character.isspace() or _has(file, character))
    file = next(found, next(iter(_files()), None))
    heavier = _bold(file) if file and bold else None
    return heavier if heavier and _has(heavier, character) else file


@cache
def _has(file: str | None, character: str) -> bool:
    """Whether a font has a glyph: it draws something else than what it draws for no character at all."""
    if unicodedata.category(character) in ("Mn", "Cf"):  # shows nothing by itself
        return True
    drawn = font(file, 24).getmask(character)  # 24 pixels are enough to tell two glyphs apart
    return bool(drawn.getbbox()) and _pixels(drawn) != _missing(file)


@cache
def _missing(file: str | None) -> tuple[tuple[int, int], bytes]:
    return _pixels(font(file, 24).getmask(_NO_CHARACTER))


def _pixels(mask: Any) -> tuple[tuple[int, int], bytes]:
    """Of what a font draws; Pillow does not name the type of that."""
    return mask.size, bytes(mask)


@cache
def _files() -> tuple[str, ...]:
    """Font files that can be read, the preferred ones first."""
    found: dict[str, str] = {}
    for folder in _folders():
        for place, _, names in os.walk(folder):
            for name in names:
                stem, ending = os.path.splitext(name)
                if ending.lower() in (".ttf", ".otf", ".ttc"):
                    found.setdefault(stem, os.path.join(place, name))
    ordered = [path for pattern in _NAMES for stem, path in sorted(found.items()) if re.fullmatch(pattern, stem)]
    return tuple(path for path in list(dict.fromkeys(ordered))[:_MOST] if _readable(path))


def _readable(file: str) -> bool:
    try:
        font(file, _MEASURED)
    except OSError:
        return False
    return True


def _bold(file: str) -> str | None:
    place = Path(file)
    heavier = place.with_stem(_BOLD[place.stem]) if place.stem in _BOLD else None
    return str(heavier) if heavier and heavier.is_file() and _readable(str(heavier)) else None


def _folders() -> Iterator[Path]:
    """Where fonts are, of this user first, and those of matplotlib where it is installed."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "darwin":
        yield from (home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts"))
    elif sys.platform == "win32":
        yield from (
            home / "AppData/Local/Microsoft/Windows/Fonts",
            Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts",
        )
    else:
        kept = os.environ.get("XDG_DATA_HOME") or home / ".local/share"
        yield from (Path(kept) / "fonts", home / ".fonts", Path("/usr/local/share/fonts"), Path("/usr/share/fonts"))
    if (plots := importlib.util.find_spec("matplotlib")) and plots.origin:
        yield Path(plots.origin).parent / "mpl-data/fonts/ttf"
