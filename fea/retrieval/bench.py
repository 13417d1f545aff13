"""The table of `fea bench retrieval`: rankers times families of queries, with the instruction and without it.

Every query is measured twice against what its instruction wants. What is measured is appended to a file at once, so that a run
that was killed goes on behind the last query.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fea.errors import FEAError
from fea.evaluation.intervals import Interval
from fea.evaluation.retrieval import average_precision, interval, ndcg, p_mrr, recall
from fea.reports.tables import aligned
from fea.retrieval.queries import Query
from fea.retrieval.ranking import Ranker
from fea.system.files import write_atomically
from fea.system.lines import append, whole_lines
from fea.system.progress import progress

METRICS, MEASURED = "metrics.json", "queries.jsonl"
SCORES = ("ndcg@10", "recall@100", "map@10")  # of each ranking; nDCG with linear gain

_HEADER = ("family", "ranker", "queries", "nDCG@10 without", "with", "gain", "R@100", "MAP@10", "p-MRR")


class Row(NamedTuple):
    """A ranker on a family.

    Attributes:
        family: of the queries.
        ranker: name of it.
        queries: how many there are.
        without: by name of a score, its mean without the instruction.
        given: with it.
        gain: with it minus without it, paired by query.
        p_mrr: over queries whose instruction flips a document.
    """

    family: str
    ranker: str
    queries: int
    without: dict[str, Interval]
    given: dict[str, Interval]
    gain: dict[str, Interval]
    p_mrr: Interval

    def plain(self) -> dict[str, Any]:
        """As JSON tells it: means with the ends of their intervals; null where no query says anything."""
        ways = {"without": self.without, "with": self.given, "gain": self.gain}
        scores = {name: {way: _plain(found[name]) for way, found in ways.items()} for name in SCORES}
        head = {"family": self.family, "ranker": self.ranker, "queries": self.queries}
        return {**head, **scores, "p-MRR": _plain(self.p_mrr)}


class Journal:
    """What has been measured, query by query.

    Args:
        file: that grows.
        settings: what the measurements depend on, as JSON has it.

    Raises:
        FEAError: the file was begun with other settings.
    """

    def __init__(self, file: Path, settings: Mapping[str, Any]):
        self.file = file
        lines = whole_lines(file)
        if lines and lines[0] != settings:
            differing = sorted(name for name in settings if lines[0].get(name) != settings[name])
            raise FEAError(
                f"out: '{file}' was begun with other settings ({', '.join(differing) or 'of another release'}); choose another "
                "folder, or remove it"
            )
        self.done = {(line["ranker"], line["query"]): line for line in lines[1:]}
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = sum(len(part) + 1 for part in file.read_bytes().split(b"\n")[:-1]) if file.exists() else None
        append(file, [] if lines else [settings], keep=kept)

    def add(self, line: Mapping[str, Any]) -> None:
        """Keeps what was measured of a query."""
        append(self.file, [line])
        self.done[line["ranker"], line["query"]] = dict(line)


def measured(query: Query, ranker: Ranker) -> dict[str, Any]:
    """Scores of a query with its instruction and without it."""
    left_out = [] if query.source is None else [query.source]
    before, after = (ranker.rank(query.text, told, left_out) for told in ("", query.instruction))
    wanted = (query.grades >= query.least).astype(np.int64)
    scores = {
        way: dict(
            zip(
                SCORES,
                (ndcg(order, query.grades), recall(order, wanted), average_precision(order, wanted)),
                strict=True,
            )
        )
        for way, order in (("without", before), ("with", after))
    }
    moved = p_mrr(before, after, query.flipped)
    return {**scores, "p-MRR": None if math.isnan(moved) else moved}


def run(
    families: Mapping[str, Sequence[Query]], rankers: Mapping[str, Callable[[], Ranker]], journal: Journal
) -> list[Row]:
    """Measures every ranker on every family.

    Args:
        families: queries of each.
        rankers: by name, what makes one; it is made only if something is left to be measured with it.
        journal: of what was measured before.

    Returns:
        Rows by family, then by ranker, without families that have no query.
    """
    total = len(rankers) * sum(map(len, families.values()))
    rows = []
    with progress(total, "queries", len(journal.done)) as advance:
        for name, make in rankers.items():
            ranker = None
            for family, asked in families.items():
                for number, query in enumerate(asked):
                    key = f"{family}-{number}"
                    if (name, key) not in journal.done:
                        ranker = ranker or make()
                        journal.add({"ranker": name, "query": key, **measured(query, ranker)})
                        advance(1)
    for family, asked in families.items():
        lines = [[journal.done[name, f"{family}-{number}"] for number in range(len(asked))] for name in rankers]
        rows += [_row(family, name, some) for name, some in zip(rankers, lines, strict=True) if some]
    return rows


def improved(rows: Sequence[Row], ranker: str) -> tuple[int, int]:
    """In how many families the instruction raises a ranker's nDCG@10, and how many there are."""
    gains = [row.gain["ndcg@10"].mean for row in rows if row.ranker == ranker]
    return sum(gain > 0 for gain in gains), len(gains)


def write(out: Path, rows: Sequence[Row], settings: Mapping[str, Any]) -> Path:
    """Writes all numbers, whole or not at all; returns the file."""
    names = dict.fromkeys(row.ranker for row in rows)
    shares = {name: dict(zip(("families_improved", "families"), improved(rows, name), strict=True)) for name in names}
    told = {**settings, "rows": [row.plain() for row in rows], "rankers": shares}
    write_atomically(out / METRICS, (json.dumps(told, indent=2) + "\n").encode())
    return out / METRICS


def table(rows: Sequence[Row]) -> str:
    """The numbers as a table; scores other than nDCG@10 are those with the instruction."""
    cells = [
        [
            row.family, row.ranker, str(row.queries), f"{row.without['ndcg@10'].mean:.3f}", _shown(row.given["ndcg@10"]),
            _shown(row.gain["ndcg@10"], "+"), f"{row.given['recall@100'].mean:.3f}", f"{row.given['map@10'].mean:.3f}",
            "-" if math.isnan(row.p_mrr.mean) else _shown(row.p_mrr, "+"),
        ]
        for row in rows
    ]  # fmt: skip
    names = dict.fromkeys(row.ranker for row in rows)
    told = ["{}: the instruction helps in {} of {} families".format(name, *improved(rows, name)) for name in names]
    return "\n".join([aligned(_HEADER, cells), "", *told])


def digest_of(texts: Sequence[str]) -> str:
    """Changes with the documents."""
    return hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()[:32]


def _row(family: str, name: str, lines: Sequence[Mapping[str, Any]]) -> Row:
    by_score = {score: [(line["without"][score], line["with"][score]) for line in lines] for score in SCORES}
    return Row(
        family, name, len(lines),
        without={score: interval([before for before, _ in pairs]) for score, pairs in by_score.items()},
        given={score: interval([after for _, after in pairs]) for score, pairs in by_score.items()},
        gain={score: interval([after - before for before, after in pairs]) for score, pairs in by_score.items()},
        p_mrr=interval([math.nan if line["p-MRR"] is None else line["p-MRR"] for line in lines]),
    )  # fmt: skip


def _plain(found: Interval) -> list[float] | None:
    return None if math.isnan(found.mean) else [round(number, 6) for number in found]


def _shown(found: Interval, sign: str = "") -> str:
    return f"{found.mean:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"
