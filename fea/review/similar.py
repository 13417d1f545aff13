"""Which analyses of a file are worded like one: how others were decided about is a help with this one. Needs `bm25s`."""

from __future__ import annotations

from typing import Any

from fea.evaluation.retrieval import ranked
from fea.retrieval.ranking import excerpt
from fea.retrieval.words import Words
from fea.review.inspection import Inspection

_COUNT = 6  # that are shown: what fits beside the faces without scrolling


class Similar:
    """The lines of a file by their words.

    Args:
        inspection: the lines.

    Raises:
        FEAError: `bm25s` is not installed.
    """

    def __init__(self, inspection: Inspection):
        self.inspection = inspection
        texts = inspection.table.column("analysis")
        self._texts: list[str] = [texts[line.row] or "" for line in inspection.lines]
        self._words = Words(self._texts)

    def of(self, number: int) -> list[dict[str, Any]]:
        """The lines that share most of the words of one, the nearest first; none that shares no word.

        Args:
            number: of the line.
        """
        scores = self._words.scores(self._texts[number])
        return [
            self._told(other, float(scores[other])) for other in ranked(scores, [number])[:_COUNT] if scores[other] > 0
        ]

    def _told(self, number: int, score: float) -> dict[str, Any]:
        example = self.inspection.example(number)
        return {
            "key": self.inspection.lines[number].key,
            "place": example.place.rpartition(":")[2],
            "id": example.id,
            "labels": example.labels,
            "score": round(score, 3),
            "text": excerpt(self._texts[number], 120),
        }
