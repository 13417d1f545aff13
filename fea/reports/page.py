"""One self-contained HTML page: a table, learning curves, and faces with the answers before and after.

What stands where is in `page.html.jinja`; here it gets its values. The template escapes whatever a policy or a user wrote.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from fea.data.example import Example
from fea.evaluation.marks import marked
from fea.evaluation.scores import emotion_match
from fea.facs import ACTION_UNITS
from fea.prompts.answer import Answer
from fea.reports.curves import Curve
from fea.reports.rendering import rendered
from fea.system.files import write_atomically

# Of a plot, in pixels: room for numbers to the left of the axes and below them; the curve ends 8 above the lower one.
_FRAME = {"width": 320, "height": 180, "left": 44, "right": 312, "top": 8, "lowest": 148, "axis": 156}

Kind = Literal["right", "wrong", "missed"]  # each with a color on the page


class Face(NamedTuple):
    """A face with what was said about it, by title ("before", "after")."""

    example: Example
    answers: Mapping[str, Answer]


class Page(NamedTuple):
    """What a page shows.

    Attributes:
        title: its heading.
        notes: paragraphs below the heading.
        header: heads of the table's columns.
        rows: cells of the table.
        curves: by caption, points of a learning curve.
        commands: what was run.
        strong: numbers of the rows to stress.
        faces: faces with their answers.
    """

    title: str
    notes: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    curves: Mapping[str, Curve]
    commands: Sequence[str]
    strong: Sequence[int] = ()
    faces: Sequence[Face] = ()


def write_page(file: Path, page: Page) -> None:
    """Writes a page.

    Args:
        file: where.
        page: what it shows.
    """
    content = rendered(
        "page.html.jinja",
        page=page,
        frame=_FRAME,
        plots=[_plot(caption, points) for caption, points in page.curves.items() if len(points) > 1],
        faces=[_shown(face) for face in page.faces],
    )
    write_atomically(file, content)


class _Plot(NamedTuple):
    """A line within its frame: its points as SVG wants them, and what stands at the axes."""

    caption: str
    points: str
    low: str
    high: str
    last: str


def _plot(caption: str, curve: Curve) -> _Plot:
    xs, ys = [x for x, _ in curve], [y for _, y in curve]
    low, high = min(ys), max(ys)
    steps, spread = max(xs) - min(xs) or 1, high - low or 1
    across, down = _FRAME["right"] - _FRAME["left"], _FRAME["lowest"] - _FRAME["top"]
    points = " ".join(
        f"{_FRAME['left'] + (x - min(xs)) / steps * across:.1f},{_FRAME['top'] + (high - y) / spread * down:.1f}"
        for x, y in curve
    )
    return _Plot(caption, points, f"{low:.2f}", f"{high:.2f}", f"{max(xs):.0f}")


class _Unit(NamedTuple):
    """An Action Unit that an answer names or misses."""

    number: int
    name: str
    kind: Kind


class _Said(NamedTuple):
    """An answer with its marks."""

    title: str
    emotion: str
    kind: Kind
    units: list[_Unit]
    text: str


class _Shown(NamedTuple):
    """A face: its picture in base64, what is true of it, and what was said."""

    picture: str
    truth: str
    said: list[_Said]


def _shown(face: Face) -> _Shown:
    example = face.example
    units = " ".join(f"AU{number}" for number in sorted(example.present))
    return _Shown(
        base64.b64encode(Path(example.image).read_bytes()).decode(),
        f"{', '.join(example.labels)}: {units or 'no AU'}",
        [_said(title, answer, example) for title, answer in face.answers.items()],
    )


def _said(title: str, answer: Answer, example: Example) -> _Said:
    kind: Kind = "right" if emotion_match(answer, example) else "wrong"
    text = (answer.think or answer.text).strip()
    return _Said(title, answer.emotion or "no answer", kind, _units(answer, example), text)


def _units(answer: Answer, example: Example) -> list[_Unit]:
    """Those that were judged, by number: a claim about a unit that nobody looked for is neither right nor wrong."""
    found = marked(answer, example)
    kinds: dict[int, Kind] = dict.fromkeys(found.missed, "missed")
    for piece in found.pieces:
        if piece.au and (piece.kind == "right" or piece.kind == "wrong"):
            kinds[piece.au] = piece.kind
    return [_Unit(number, ACTION_UNITS[number].name, kinds[number]) for number in sorted(kinds)]
