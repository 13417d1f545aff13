"""A schematic face that shows Action Units, by the code that draws the faces of `fea data faces`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from PIL import Image

from fea.drawn.drawing import DRAWN_AUS, draw_face
from fea.drawn.pen import Look
from fea.facs import CONFLICTS

# Nobody: a plain face from the front, in even light, whose colors leave the creases to be seen.
LOOK = Look((236, 205, 180), (92, 74, 64), (92, 112, 128), (196, 122, 118), (242, 244, 246), "bald", light=0.0)
_UNSAID = 3.0  # grade of a claim that says none: the middle of the five


def probed(strengths: Mapping[int, float], pixels: int, look: Look = LOOK) -> Image.Image:
    """A face with Action Units of any strength, below that of a trace, too.

    Args:
        strengths: by FACS number, from 0, at which it does not show, to 1, as strong as it is ever drawn.
        pixels: width and height.
        look: who is drawn.

    Raises:
        ValueError: a unit cannot be drawn.
    """
    return draw_face({n: 6.5 * strength - 1.5 for n, strength in strengths.items() if strength > 0}, look, pixels)


def strength_of(grade: str) -> float:
    """The strength of a claim, as `draw_face` makes it of a grade: from 0.38 for a trace to 1.

    Args:
        grade: "A" to "E", or "".
    """
    return (_number(grade) + 1.5) / 6.5


def _number(grade: str) -> float:
    return float(" ABCDE".index(grade)) if grade else _UNSAID


def claimed(grades: Mapping[int, str], pixels: int) -> Image.Image:
    """A face with the units of an answer; those that cannot be drawn are left out, see `remarks`.

    Args:
        grades: FACS number to the grade that was claimed, "A" to "E", or "".
        pixels: width and height.
    """
    return draw_face({n: _number(grade) for n, grade in grades.items() if n in DRAWN_AUS}, LOOK, pixels)


def remarks(aus: Collection[int]) -> list[str]:
    """Sentences on what a drawing of these units does not show as it was said."""
    undrawn = [f"AU{n}" for n in sorted(aus) if n not in DRAWN_AUS]
    told = [f"cannot be drawn: {', '.join(undrawn)}"] if undrawn else []
    return told + [f"no face shows AU{a} with AU{b}" for a, b in CONFLICTS if a in aus and b in aus]
