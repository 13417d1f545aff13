"""One reviewer at work on a file: what is shown next, where decisions go, how far the review is."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from fea.data.example import Example
from fea.errors import FEAError
from fea.evaluation.marks import Marked, marked
from fea.facs import ACTION_UNITS, au_number
from fea.prompts.answer import parse
from fea.review.decisions import VERDICTS, Decision, summary
from fea.review.inspection import Filter, Inspection
from fea.review.logs import Reviews

REASONS = ("wrong AU", "missed AU", "wrong emotion", "not what the face shows", "bad language", "other")
UNDECIDED = "undecided"

Move = Literal["here", "match", "next", "previous", "on"]


class Desk:
    """What the page shows and asks, as plain values. One call at a time.

    Args:
        inspection: the lines.
        file: that they come from.
        reviewer: who decides.

    Raises:
        FEAError: the same reviewer is deciding in another process, or a log is damaged.
    """

    def __init__(self, inspection: Inspection, file: Path, reviewer: str):
        self.inspection, self.file, self.reviewer = inspection, file, reviewer
        self.reviews = Reviews(file)
        self.log = self.reviews.own(reviewer)

    def close(self) -> None:
        """Ends the review, and lets another process go on under the name of the reviewer."""
        self.log.close()

    def start(self) -> dict[str, Any]:
        """What the page asks for once: names, choices and units, which stay the same."""
        return {
            "file": self.file.name,
            "reviewer": self.reviewer,
            "reasons": REASONS,
            "choices": {**self.inspection.choices(), "verdict": [(word, None) for word in (UNDECIDED, *VERDICTS)]},
            "units": {unit.number: (unit.name, unit.sign) for unit in ACTION_UNITS.values()},
        }

    def look(self, key: str, move: Move, settings: Mapping[str, str]) -> dict[str, Any]:
        """A line, and how far the review is.

        Args:
            key: where one is; any other text for the start.
            move: "here"; "match", the first from here on that the filter takes; "next" and "previous", which stop at the ends;
                "on", the next one to decide about. "match" and "on" begin again after the last line.
            settings: of the filter.
        """
        decisions = self.log.decisions
        lines, wanted = self.inspection.lines, settings.get("verdict")
        verdicts = [decisions[line.key].verdict if line.key in decisions else UNDECIDED for line in lines]
        found = self.inspection.find(Filter.of(settings))
        fitting = [number for number in found if not wanted or verdicts[number] == wanted]
        waiting = fitting if wanted else [number for number in found if verdicts[number] == UNDECIDED]
        at = self.inspection.places.get(key)
        number = _around(waiting, 0) if at is None else _moved(at, move, fitting, waiting)
        ahead = None if number is None else _around([other for other in waiting if other != number], number)
        return {
            "line": None if number is None else self._shown(number, decisions.get(lines[number].key)),
            "ahead": None if ahead is None else lines[ahead].key,
            "counts": Counter(verdicts),
            "found": [len(fitting), sum(verdicts[number] != UNDECIDED for number in found), len(found)],
            "place": None if number is None else bisect_right(fitting, number),
            "summary": self.told(),
        }

    def decide(self, key: str, verdict: str, reason: str, text: str) -> None:
        """Keeps a decision.

        Args:
            key: of the line.
            verdict: "accept", "reject" or "skip".
            reason: of a rejection.
            text: as the reviewer sees it, edited or not.

        Raises:
            FEAError: there is no such line or verdict, a rejection has no reason, or the text is empty.
        """
        if verdict not in VERDICTS:
            raise FEAError(f"there is no verdict '{verdict}'; give one of {', '.join(VERDICTS)}")
        if verdict == "reject" and not reason.strip():
            raise FEAError("a rejection needs a reason")
        if not text.strip():
            raise FEAError("the text is empty; reject the analysis instead")
        unchanged = text == self.example(key).analysis
        self.log.add(Decision(key, verdict, reason.strip(), "" if unchanged else text))

    def undo(self) -> str:
        """Takes back this reviewer's last decision about a line of the file.

        Returns:
            The key of the line.

        Raises:
            FEAError: there is none.
        """
        key = self.log.undo(self.inspection.places)
        if key is None:
            raise FEAError("there is no decision to take back")
        return key

    def marked(self, key: str, text: str) -> Marked:
        """A text about the face of a line, with its marks."""
        example = self.example(key)
        return marked(parse(text, example.emotions), example)

    def told(self) -> list[str]:
        """Counts and agreement of all reviewers, on the lines that the file holds now; or which log cannot be read."""
        places = self.inspection.places
        try:
            reviews = self.reviews.read()
        except FEAError as error:  # another reviewer's: it stands in nobody's way here
            return [str(error)]
        return summary(
            {
                reviewer: {key: decision for key, decision in decisions.items() if key in places}
                for reviewer, decisions in reviews.items()
            }
        )

    def example(self, key: str) -> Example:
        """The face and the analysis of a line.

        Raises:
            FEAError: the file holds no such line.
        """
        return self.inspection.example(self.number(key))

    def number(self, key: str) -> int:
        """Number of a line among those of the inspection.

        Raises:
            FEAError: the file holds no such line.
        """
        if key not in self.inspection.places:
            raise FEAError(f"the file holds no line '{key}'; reload the page")
        return self.inspection.places[key]

    def _shown(self, number: int, decision: Decision | None) -> dict[str, Any]:
        example, line = self.inspection.example(number), self.inspection.lines[number]
        text = decision.text if decision and decision.text else example.analysis or ""
        codes = sorted(example.aus or (), key=lambda code: (au_number(code), code))
        return {
            "key": line.key,
            "place": example.place.rpartition(":")[2],
            "analysis": self.marked(line.key, text)._asdict(),
            "edited": bool(decision and decision.text),
            "verdict": decision.verdict if decision else None,
            "reason": decision.reason if decision else "",
            "labels": example.labels,
            "present": [(au_number(code), code, example.intensities.get(code)) for code in codes],
            "absent": sorted(example.coded - example.present),
            "coded": example.aus is not None,
            "id": example.id,
            "dataset": example.dataset,
            "question": example.question,
            "rejected": _rejected(example),
            "attempt": next(iter(line.facets["attempt"])),
            "revealed": next(iter(line.facets["revealed"])),
        }


def _rejected(example: Example) -> dict[str, Any] | None:
    """What the text of a preference pair is preferred to; None for a line that is no pair."""
    if example.rejected is None:
        return None
    text, image, question = example.rejected
    analysis = None if text is None else marked(parse(text, example.emotions), example)._asdict()
    return {"analysis": analysis, "image": image is not None, "question": question or ""}


def _moved(at: int, move: Move, fitting: Sequence[int], waiting: Sequence[int]) -> int | None:
    if move == "on":
        return _around(waiting, at + 1)
    if move == "match":
        return _around(fitting, at)
    if move == "next":
        return next(iter(fitting[bisect_right(fitting, at) :]), at)
    if move == "previous":
        return next(iter(fitting[: bisect_left(fitting, at)][-1:]), at)
    return at


def _around(numbers: Sequence[int], start: int) -> int | None:
    """The first of some sorted numbers from `start` on, else the first of all."""
    return numbers[bisect_left(numbers, start) % len(numbers)] if numbers else None
