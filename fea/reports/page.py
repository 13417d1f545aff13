"""One self-contained HTML page: a table, learning curves, and faces with the answers before and after."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from fea.data.example import Example
from fea.facs import ACTION_UNITS
from fea.prompts.answer import Answer
from fea.system.files import write_atomically

Curve = Sequence[tuple[float, float]]  # step and value

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 1080px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #d5dbe1; }
table { border-collapse: collapse; } th, td { padding: .3em .8em; text-align: right; border-bottom: 1px solid #e4e8ec; }
th:first-child, td:first-child { text-align: left; } tr.strong td { font-weight: 600; }
.curves { display: flex; flex-wrap: wrap; gap: 1em; } .curves figure { margin: 0; }
figcaption, .small { font-size: 13px; color: #5a6673; }
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 1em; }
.face { display: grid; grid-template-columns: 112px 1fr; gap: .8em; padding: .8em; }
.face { border: 1px solid #d5dbe1; border-radius: 8px; } .face img { border-radius: 6px; } .face p { margin: .2em 0; }
.au { display: inline-block; border-radius: 4px; padding: 0 .4em; margin: 0 .25em .25em 0; font-size: 13px; }
.right { background: #cdeccf; color: #12491a; } .wrong { background: #f8cfcb; color: #7c1a12; }
.missed { border: 1px dashed #9aa5b1; color: #5a6673; }
pre { background: #f4f6f8; padding: .8em; overflow-x: auto; font-size: 13px; }
"""


_LEGEND = (
    "<h2>Faces</h2><p class=small>Green: there and named. Red: named but not there. Dashed: there but not named.</p>"
)


class Face(NamedTuple):
    """A face with what was said about it, by title ("before", "after")."""

    example: Example
    answers: Mapping[str, Answer]


def write_report(
    file: Path,
    title: str,
    notes: Sequence[str],
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    strong: Sequence[int],
    curves: Mapping[str, Curve],
    faces: Sequence[Face],
    commands: Sequence[str],
) -> None:
    """Writes the page.

    Args:
        file: where.
        title: its heading.
        notes: paragraphs below the heading.
        header: heads of the table's columns.
        rows: cells of the table.
        strong: numbers of the rows to stress.
        curves: by caption, points of a learning curve.
        faces: faces with their answers.
        commands: what was run.
    """
    body = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(note)}</p>" for note in notes),
        _table(header, rows, strong),
        "<h2>Learning curves</h2>",
        f'<div class="curves">{"".join(_curve(caption, points) for caption, points in curves.items())}</div>',
        *([_LEGEND, f'<div class="faces">{"".join(map(_face, faces))}</div>'] if faces else []),
        f"<h2>Commands</h2><pre>{escape(chr(10).join(commands))}</pre>",
    ]
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    write_atomically(file, (page + "\n".join(body) + "</html>\n").encode())


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], strong: Sequence[int]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = [
        f"<tr{' class=strong' * (number in strong)}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for number, row in enumerate(rows)
    ]
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _curve(caption: str, points: Curve) -> str:
    """A line with its range on the axes, 320 by 180."""
    if len(points) < 2:
        return ""
    width, height, left, bottom = 320, 180, 44, 24
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min(ys), max(ys)
    spans = (max(xs) - min(xs) or 1, high - low or 1)
    placed = " ".join(
        f"{left + (x - min(xs)) / spans[0] * (width - left - 8):.1f},"
        f"{8 + (high - y) / spans[1] * (height - bottom - 16):.1f}"
        for x, y in points
    )
    axis = f"M{left} 8V{height - bottom}H{width - 8}"
    return (
        f'<figure><svg width="{width}" height="{height}" font-size="11" fill="#5a6673">'
        f'<path d="{axis}" fill="none" stroke="#9aa5b1"/>'
        f'<polyline points="{placed}" fill="none" stroke="#2266aa" stroke-width="1.6"/>'
        f'<text x="{left - 4}" y="16" text-anchor="end">{high:.2f}</text>'
        f'<text x="{left - 4}" y="{height - bottom}" text-anchor="end">{low:.2f}</text>'
        f'<text x="{width - 8}" y="{height - 8}" text-anchor="end">step {max(xs):.0f}</text></svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _face(face: Face) -> str:
    example = face.example
    picture = base64.b64encode(Path(example.image).read_bytes()).decode()
    truth = f"{', '.join(example.labels)}: {' '.join(f'AU{n}' for n in sorted(example.present)) or 'no AU'}"
    said = "".join(
        f"<p><b>{escape(title)}</b> {_emotion(answer, example)}<br>{_units(answer, example)}</p>"
        f"<p class=small>{escape((answer.think or answer.text).strip())}</p>"
        for title, answer in face.answers.items()
    )
    return (
        f'<div class=face><img width=112 height=112 alt="drawn face" src="data:image/png;base64,{picture}">'
        f"<div><p class=small>{escape(truth)}</p>{said}</div></div>"
    )


def _emotion(answer: Answer, example: Example) -> str:
    kind = "right" if answer.emotion in example.labels else "wrong"
    return f'<span class="au {kind}">{escape(answer.emotion or "no answer")}</span>'


def _units(answer: Answer, example: Example) -> str:
    named = answer.aus & example.coded
    kinds = {n: "right" if n in example.present else "wrong" for n in named} | dict.fromkeys(
        example.present - named, "missed"
    )
    return "".join(f'<span class="au {kinds[n]}" title="{ACTION_UNITS[n].name}">AU{n}</span>' for n in sorted(kinds))
