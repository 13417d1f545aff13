"""Which of the analyses that passed their checks join the set: no class floods it, and no text stands there twice.

Faces are judged in their order, so the result is the same for any number of processes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from rapidfuzz import fuzz, process

from fea.data.example import Example
from fea.synthesis.checks import Reason

REFUSALS: tuple[Reason, ...] = ("quota", "alike")  # of analyses that passed their checks


class Limits(NamedTuple):
    """How much of what joins the set.

    Attributes:
        emotion: analyses of an emotion, at most; None for any number.
        unit: analyses that show an Action Unit, at most. One that shows a unit, or has a label, below its limit may still join.
        alike: similarity of two texts of a class, 0 to 1, above which the later one is left out; 1 leaves out none. Texts are
            compared as they stand, and with their words sorted, since the same sentences in another order say nothing new.
    """

    emotion: int | None = None
    unit: int | None = None
    alike: float = 1.0


class Admitted(NamedTuple):
    """What decides about later analyses.

    Attributes:
        labels: accepted emotions of the face.
        units: FACS numbers of what it shows.
        text: of the analysis.
    """

    labels: tuple[str, ...]
    units: frozenset[int]
    text: str


class Admission:
    """The door of the set.

    Args:
        limits: how much of what.
        admitted: what is in it already.
    """

    def __init__(self, limits: Limits, admitted: Iterable[Admitted] = ()):
        self.limits = limits
        self._emotions: Counter[str] = Counter()
        self._units: Counter[int] = Counter()
        self._texts: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for entry in admitted:
            self.add(entry)

    def add(self, entry: Admitted) -> None:
        """Counts an analysis that joins."""
        self._emotions.update(entry.labels)
        self._units.update(entry.units)
        if self.limits.alike < 1:
            self._texts[entry.labels].append(entry.text)

    def full(self, example: Example) -> bool:
        """Whether the set has enough of such faces, whatever is written about them."""
        return _full(example.labels, self._emotions, self.limits.emotion) or _full(
            example.present, self._units, self.limits.unit
        )

    def refusal(self, entry: Admitted, example: Example) -> Reason | None:
        """Why an analysis does not join, or None if it may."""
        if self.full(example):
            return "quota"
        return "alike" if any(self._like(entry, scorer) for scorer in (fuzz.ratio, fuzz.token_sort_ratio)) else None

    def _like(self, entry: Admitted, scorer: Callable[..., float]) -> bool:
        """Whether a text of the same class is like this one."""
        cutoff = 100 * self.limits.alike
        found = process.extractOne(entry.text, self._texts[entry.labels], scorer=scorer, score_cutoff=cutoff)
        return found is not None and found[1] > cutoff


def _full(names: Iterable[Any], counts: Mapping[Any, int], limit: int | None) -> bool:
    """Whether all of some names have reached their limit."""
    reached = [counts[name] >= limit for name in names] if limit is not None else []
    return bool(reached) and all(reached)
