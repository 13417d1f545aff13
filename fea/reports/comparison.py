"""Two evaluations side by side, as text and as a page.

A class that few faces show gets its count and no difference. An interval that leaves out 0 is marked; of many intervals some
do by chance, which is said beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fea.protocols.compared import Change, Comparison
from fea.reports.evaluation import INTENDED
from fea.reports.numbers import FEWEST, LESS, in_order, shown, title, told
from fea.reports.rendering import rendered
from fea.reports.tables import aligned
from fea.system.files import write_atomically

COMPARISON = b'content="fea compare"'  # in the head of such a page
_NAMED = 5  # faces that are in one run alone


class _Row(NamedTuple):
    """A line of a table.

    Attributes:
        name: as in `metrics.json`.
        title: for people.
        told: what it says.
        change: the numbers.
        few: too few faces for a difference.
        verdict: "better", "worse", or "" where the interval holds 0.
    """

    name: str
    title: str
    told: str
    change: Change
    few: bool
    verdict: str


class _Table(NamedTuple):
    """Rows under a heading, and how wide its differences reach, for the drawing."""

    heading: str
    rows: list[_Row]
    reach: float
    counted: bool


def _row(name: str, change: Change, counted: bool) -> _Row:
    few = counted and change.support < FEWEST
    verdict, found = "", change.difference
    if found and not few and not found.low <= 0 <= found.high:
        verdict = "better" if (found.low > 0) != (name in LESS) else "worse"
    return _Row(name, title(name), told(name), change, few, verdict)


def _tables(comparison: Comparison) -> Iterator[_Table]:
    for heading, changes, counted in (
        ("Scores", comparison.scores, False),
        ("Action Units, F1", comparison.units, True),
        ("Emotions, F1", comparison.emotions, True),
    ):
        names = changes if counted else in_order(changes)
        rows = [_row(name, changes[name], counted) for name in names]
        shares = [row.change.difference for row in rows if not row.few and row.name not in LESS]
        ends = [abs(end) for found in shares if found for end in found]
        # Of the drawing; what is no share, such as invented units or points, may reach farther and is not drawn.
        reach = max((end for end in ends if end <= 1), default=1.0) or 1.0
        if rows:
            yield _Table(heading, rows, reach, counted)


def summary_of(comparison: Comparison) -> list[str]:
    """Sentences that stand above the numbers."""
    people = f" of {comparison.people} people" if comparison.people else ""
    lines = [f"protocol {comparison.protocol}; {comparison.faces} faces{people} are in both runs"]
    for which, names in zip(("first", "second"), comparison.only, strict=True):
        if names:
            more = ", ..." if len(names) > _NAMED else ""
            lines.append(f"only in the {which}, and left out: {len(names)} ({', '.join(names[:_NAMED])}{more})")
    drawn = f"differences: second - first, with 95 % intervals of a paired bootstrap over {comparison.resampled}"
    alike = "; faces of one person are alike, so these may be too narrow" if comparison.resampled == "faces" else ""
    return [*lines, drawn + alike, _by_chance(comparison)]


def _by_chance(comparison: Comparison) -> str:
    rows = [row for table in _tables(comparison) for row in table.rows if row.change.difference and not row.few]
    apart = sum(bool(row.verdict) for row in rows)
    return (
        f"{apart} of {len(rows)} intervals leave out 0; if nothing had changed, about {len(rows) * 0.05:.0f} would by chance"
        # 5 % of 95 % intervals
    )


def text_of(comparison: Comparison, names: Sequence[str]) -> str:
    """The comparison for the screen.

    Args:
        comparison: of two runs.
        names: of these.
    """
    parts = [f"first: {names[0]}", f"second: {names[1]}", *summary_of(comparison)]
    for table in _tables(comparison):
        heads = [table.heading, "first", "second", "difference", "95 %", "", *(["faces"] if table.counted else [])]
        parts += ["", aligned(heads, [_cells(row, table.counted) for row in table.rows])]
    return "\n".join(parts)


def _cells(row: _Row, counted: bool) -> list[str]:
    faces = [str(row.change.support)] if counted else []
    if row.few:
        return [row.title, "", "", "too few", "", "", *faces]
    return [row.title, shown(row.change.first), shown(row.change.second), *_difference(row), row.verdict, *faces]


def _difference(row: _Row) -> list[str]:
    found = row.change.difference
    return [f"{found.mean:+.3f}", f"{found.low:+.3f} to {found.high:+.3f}"] if found else ["-", ""]


def write_comparison(
    file: Path, comparison: Comparison, names: Sequence[str], models: Sequence[Mapping[str, object]]
) -> None:
    """Writes the page of a comparison.

    Args:
        file: where.
        comparison: of two runs.
        names: of these.
        models: what is known of them.
    """
    content = rendered(
        "comparison.html.jinja",
        names=names,
        models=models,
        intended=INTENDED,
        summary=summary_of(comparison),
        tables=list(_tables(comparison)),
        fewest=FEWEST,
        shown=shown,
    )
    write_atomically(file, content)
