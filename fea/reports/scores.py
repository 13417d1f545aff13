"""Scores by a protocol as text: a table for the screen, and what was not matched below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fea.protocols.scored import Scored
from fea.reports import tables


def told(scored: Scored, other: Mapping[str, Scored] | None = None) -> Iterator[str]:
    """What a command prints of scores.

    Args:
        scored: what it has found.
        other: by the head of a column, the same answers scored in another way.
    """
    people = f", {scored.subjects} people" if scored.subjects else ""
    yield f"{scored.protocol}: {scored.source}"
    drawn = f"; intervals: 95 %, drawn over {scored.resampled}" if scored.intervals else ""
    yield f"{scored.faces} faces{people}; answers read {'leniently' if scored.lenient else 'strictly'}{drawn}"
    yield _table(scored, other or {})
    if scored.folds:
        yield "folds: " + ", ".join(f"{fold}: {_first(scores)}" for fold, scores in scored.folds.items())
    units = [
        (code, *(f"{of[k]:.3f}" for k in ("f1", "precision", "recall")), str(of["support"]))
        for code, of in scored.units.items()
    ]
    words = [
        (word, *(f"{of[k]:.3f}" for k in ("f1", "precision", "recall")), str(of["support"]))
        for word, of in scored.emotions.items()
    ]
    if units or words:
        yield tables.aligned(("class", "F1", "precision", "recall", "faces"), [*units, *words])
    yield from (f"note: {note}" for note in scored.notes)
    for reason, found in scored.unmatched.items():
        more = ", ..." if found["count"] > len(found["examples"]) else ""
        yield f"{found['count']} x {reason}: {', '.join(found['examples'])}{more}"


def _table(scored: Scored, other: Mapping[str, Scored]) -> str:
    columns = {head: one.scores for head, one in other.items()} | dict(scored.baselines)
    rows = [
        (name, f"{value:.4g}", _ends(scored, name), *(_cell(scores, name) for scores in columns.values()))
        for name, value in scored.scores.items()
    ]
    return tables.aligned(("score", "value", "interval", *columns), rows)


def _ends(scored: Scored, name: str) -> str:
    low_high = scored.intervals.get(name)
    return "" if low_high is None else "{:.4g} .. {:.4g}".format(*low_high)


def _cell(scores: Mapping[str, float], name: str) -> str:
    return f"{scores[name]:.4g}" if name in scores else "-"


def _first(scores: Mapping[str, float]) -> str:
    name = next((name for name in ("au_f1", "accuracy") if name in scores), next(iter(scores)))
    return f"{name} {scores[name]:.4g}"
