"""Plain analyses from labels, for people who have labels and no analyses: the signs of the units, one after the other."""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Mapping
from itertools import islice
from typing import Any

from fea.facs import ACTION_UNITS, au_number
from fea.prompts.answer import render

# What they are worth, for whoever asks for them.
WORTH = (
    "they say the labels in the words of a table and nothing else: stage 1 learns the form and the codes from them, not how to "
    "look or to reason; analyses that people wrote, or that `fea synthesize` wrote and a person accepted, teach more"
)
_SIDES = {"L": ", on the person's left", "R": ", on the person's right"}
_HELD_OUT = ("val", "test")  # what is measured on is not learned from


def plain_analysis(record: Mapping[str, Any]) -> str | None:
    """The analysis of a line; None if its emotion is unknown.

    >>> plain_analysis({"AUs": ["AU12"], "labels": ["happiness"]})
    '<think>The lip corners go up and back (AU12). This is read as happiness.</think><answer>happiness</answer>'
    """
    if not record["labels"]:
        return None
    emotion = record["labels"][0]
    if "AUs" not in record:
        return render(f"Seen as a whole, the face is read as {emotion}.", emotion)
    signs = [f"{_sign(code)}." for code in record["AUs"]] or ["None of the movements that were looked for shows."]
    return render(f"{' '.join(signs)} This is read as {emotion}.", emotion)


def _sign(code: str) -> str:
    unit = ACTION_UNITS[au_number(code)]
    return f"{unit.sign[0].upper()}{unit.sign[1:]} (AU{unit.number}{_SIDES.get(code[2], '')})"


class Choice:
    """Chooses lines for analyses while they pass by: of all emotions alike, and by chance that is the same every time.

    Args:
        count: of the lines that are wanted.
    """

    def __init__(self, count: int):
        self.count = count
        self._by_label: dict[str, list[tuple[int, int]]] = defaultdict(list)

    def offer(self, number: int, record: Mapping[str, Any]) -> None:
        """Shows a line. Of each emotion those with the lowest hash are kept: no more than are wanted are ever held."""
        if (
            not self.count
            or not record["labels"]
            or "description" in record
            or record.get("meta_info", {}).get("split") in _HELD_OUT
        ):
            return
        drawn = int.from_bytes(hashlib.sha256(record["id"].encode(errors="backslashreplace")).digest()[:8], "big")
        heap = self._by_label[record["labels"][0]]
        heapq.heappush(heap, (-drawn, number))
        if len(heap) > self.count:
            heapq.heappop(heap)

    def chosen(self) -> set[int]:
        """The numbers of the lines that were chosen, one emotion after the other in turn."""
        queues = [sorted(heap, reverse=True) for _, heap in sorted(self._by_label.items())]
        turns = (queue[turn] for turn in range(self.count) for queue in queues if turn < len(queue))
        return {number for _, number in islice(turns, self.count)}
