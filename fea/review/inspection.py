"""The lines of a file under review. What they can be found by stands in memory; their texts are read when asked for."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fea.data.example import Example
from fea.data.table import open_jsonl
from fea.errors import FEAError
from fea.evaluation.scores import au_f1
from fea.prompts.answer import parse
from fea.records.record import Rules

FACETS = ("emotion", "au", "attempt", "revealed")
UNKNOWN = "unknown"
_YES_OR_NO = {"True": "yes", "False": "no"}


class IndexedLine(NamedTuple):
    """What a line can be found by.

    Attributes:
        key: what decisions know it by.
        row: of the table.
        facets: its values by facet: emotions, units that are there or claimed, attempt of the synthesis, whether this had
            seen the labels.
        score: F1 of the claimed units, or None if none were looked for.
    """

    key: str
    row: int
    facets: dict[str, frozenset[str]]
    score: float | None


class Filter(NamedTuple):
    """Which lines are wanted.

    Attributes:
        facets: facet and value, for each facet that matters.
        least: least score, or None.
        most: greatest score, or None.
    """

    facets: tuple[tuple[str, str], ...] = ()
    least: float | None = None
    most: float | None = None

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> Filter:
        """The filter that a page's settings ask for; empty ones do not matter.

        Raises:
            FEAError: a score is no number.
        """
        facets = tuple((name, settings[name]) for name in FACETS if settings.get(name))
        return cls(facets, _number(settings, "least"), _number(settings, "most"))

    def takes(self, line: IndexedLine) -> bool:
        """Whether a line is wanted; one without a score is not, if a score is asked for."""
        if self.least is not None and (line.score is None or line.score < self.least):
            return False
        if self.most is not None and (line.score is None or line.score > self.most):
            return False
        return all(value in line.facets[name] for name, value in self.facets)


class Inspection:
    """The lines of a file that have an analysis.

    Args:
        file: JSONL in FEA-20K format; it is only read.
        image_root: folder of its images.
        emotions: allowed emotions.

    Attributes:
        lines: in the order of the file.
        places: number in `lines`, by key.
        left_out: lines without an analysis.

    Raises:
        FEAError: a line cannot be read, two cannot be told apart, or none has an analysis.
    """

    def __init__(self, file: Path, image_root: Path, emotions: tuple[str, ...]):
        self.table = open_jsonl(file, image_root, Rules(emotions), "raise")
        self.lines: list[IndexedLine] = []
        self.places: dict[str, int] = {}
        for row, key in enumerate(self.table.column("key")):
            example = self.table[row]
            if example.analysis is not None:
                self._add(key, row, example)
        self.left_out = len(self.table) - len(self.lines)
        if not self.lines:
            raise FEAError(f"no line of '{file}' has an analysis (key 'description')")
        self._found: tuple[Filter, list[int]] = Filter(), list(range(len(self.lines)))

    def _add(self, key: str, row: int, example: Example) -> None:
        if key in self.places:
            first = self.example(self.places[key]).place
            raise FEAError(
                f"{example.place}: same 'id' and 'description' as {first}; give each line an 'id' of its own"
            )
        answer = parse(example.analysis or "", example.emotions)
        attempt, revealed = _provenance(example)
        facets = {
            "emotion": frozenset(example.labels or [UNKNOWN]),
            "au": frozenset(f"AU{number}" for number in answer.aus | example.present),
            "attempt": frozenset([attempt]),
            "revealed": frozenset([revealed]),
        }
        self.places[key] = len(self.lines)
        self.lines.append(IndexedLine(key, row, facets, au_f1(answer, example)))

    def example(self, number: int) -> Example:
        """The face and the analysis of a line."""
        return self.table[self.lines[number].row]

    def find(self, wanted: Filter) -> list[int]:
        """Numbers of the lines that a filter takes, in the order of the file."""
        if self._found[0] != wanted:
            self._found = wanted, [number for number, line in enumerate(self.lines) if wanted.takes(line)]
        return self._found[1]

    def choices(self) -> dict[str, list[tuple[str, int]]]:
        """By facet, the values that occur and the number of lines that have them."""
        counts = {name: Counter(value for line in self.lines for value in line.facets[name]) for name in FACETS}
        return {name: sorted(found.items(), key=lambda item: _natural(item[0])) for name, found in counts.items()}


def _provenance(example: Example) -> tuple[str, str]:
    """The attempt of a synthesis that wrote the analysis, and whether it had seen the labels."""
    meta: Any = json.loads(example.meta)
    told = meta.get("synthesis") if isinstance(meta, dict) else None
    if not isinstance(told, dict):
        return UNKNOWN, UNKNOWN
    return str(told.get("attempt", UNKNOWN)), _YES_OR_NO.get(str(told.get("revealed")), UNKNOWN)


def _number(settings: Mapping[str, str], name: str) -> float | None:
    try:
        return float(settings[name]) if settings.get(name) else None
    except ValueError:
        raise FEAError(f"{name}: '{settings[name]}' is no number; give a score from 0 to 1") from None


def _natural(value: str) -> tuple[int, str]:
    """Sorts AU2 before AU12, and words by their letters."""
    return int(re.sub(r"\D", "", value) or 0), value
