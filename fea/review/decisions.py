"""What reviewers decided about written analyses: logs that only grow, and how far the reviewers agree.

    FILE.reviews/REVIEWER.jsonl    {"key", "verdict", "reason", "text", "time"}, one decision a line

Verdict "undo" takes back the last decision about its key. A last line that a kill cut short was never confirmed to the
reviewer, and is ignored.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args
from weakref import WeakValueDictionary

from fea.errors import FEAError
from fea.evaluation.intervals import cohens_kappa
from fea.system.files import lock
from fea.system.lines import append

Verdict = Literal["accept", "reject", "skip"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Unreviewed = Literal["train", "drop", "any"]  # where lines go that nobody accepted or rejected
# The logs that this process is writing: a lock keeps out other processes only.
_WRITING: WeakValueDictionary[Path, OwnLog] = WeakValueDictionary()


class Decision(NamedTuple):
    """What a reviewer decided about one analysis.

    Attributes:
        key: of the line that was judged.
        verdict: "accept", "reject" or "skip".
        reason: of a rejection.
        text: the edited description; "" if it was left as it is.
    """

    key: str
    verdict: Verdict
    reason: str
    text: str


class Log:
    """One reviewer's decisions about a file. It is read on from where it was read last.

    Args:
        path: of the log; it need not be there yet.

    Attributes:
        standing: the decisions that were not taken back, oldest first.
    """

    def __init__(self, path: Path):
        self.path = path
        self.standing: list[Decision] = []
        self._bytes = self._lines = 0  # that have been read

    @property
    def decisions(self) -> dict[str, Decision]:
        """By key, the decision that counts."""
        return {decision.key: decision for decision in self.standing}

    def read_on(self) -> None:
        """Takes in what was added.

        Raises:
            FEAError: a line is no decision.
        """
        with self.path.open("rb") as stream:
            stream.seek(self._bytes)
            added = stream.read()
        for line in added.split(b"\n")[:-1]:
            self._bytes += len(line) + 1
            self._lines += 1
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
            verdict, decision = entry["verdict"], Decision(*(entry[name] for name in Decision._fields))
        except (ValueError, KeyError, TypeError):
            raise FEAError(f"{self.path}:{self._lines}: this is no decision; mend or delete the line") from None
        if verdict == "undo":
            about = [number for number, earlier in enumerate(self.standing) if earlier.key == decision.key]
            del self.standing[about[-1] : about[-1] + 1]
        elif verdict in VERDICTS:
            self.standing.append(decision)
        else:
            raise FEAError(f"{self.path}:{self._lines}: verdict '{verdict}' is none of {', '.join(VERDICTS)}, undo")


class OwnLog(Log):
    """The log of the reviewer who decides here: each decision is on the disk before the next one is asked for.

    Args:
        path: of the log; made if it is not there.

    Raises:
        FEAError: the same reviewer is deciding in another process.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self._place = path.resolve()
        # Not on the log itself: a lock of the process would end when the log is closed after a decision.
        held = None if self._place in _WRITING else lock(path.with_name(f".{path.name}.lock"))
        if held is None:
            raise FEAError(
                f"reviewer '{path.stem}' is reviewing this file in another process; end that one, or give another name"
            )
        self._lock, _WRITING[self._place] = held, self
        path.open("ab").close()
        self.read_on()

    def close(self) -> None:
        """Lets another process decide under this name."""
        if _WRITING.get(self._place) is self:
            del _WRITING[self._place]
        self._lock.close()

    def add(self, decision: Decision) -> None:
        """Appends a decision.

        Raises:
            FEAError: the log cannot be written.
        """
        self._append(decision._asdict())

    def undo(self, among: Container[str]) -> str | None:
        """Takes back the last decision about one of some keys.

        Returns:
            The key; None if there is no decision to take back.
        """
        key = next((decision.key for decision in reversed(self.standing) if decision.key in among), None)
        if key is not None:
            self._append({"key": key, "verdict": "undo", "reason": "", "text": ""})
        return key

    def _append(self, entry: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            append(self.path, [{**entry, "time": now}], keep=self._bytes)  # a line that a kill cut short goes
        except OSError as error:
            raise FEAError(f"'{self.path}' cannot be written ({error.strerror}); this was not kept") from None
        self.read_on()


class Reviews:
    """The decisions of all reviewers of a file, also of those who are at work elsewhere.

    Args:
        file: the JSONL file under review.
    """

    def __init__(self, file: Path):
        self.folder = file.with_name(f"{file.name}.reviews")
        self._logs: dict[Path, Log] = {}

    def own(self, reviewer: str) -> OwnLog:
        """Opens a reviewer's log for writing.

        Raises:
            FEAError: the same reviewer is deciding in another process.
        """
        log = OwnLog(self.folder / f"{reviewer}.jsonl")
        self._logs[log.path] = log
        return log

    def read(self) -> dict[str, dict[str, Decision]]:
        """By reviewer and key, the decisions that count now.

        Raises:
            FEAError: a line of a log is no decision.
        """
        paths = sorted(self.folder.glob("*.jsonl"))
        for path in paths:
            self._logs.setdefault(path, Log(path)).read_on()
        return {path.stem: self._logs[path].decisions for path in paths}


def reviews_of(file: Path) -> dict[str, dict[str, Decision]]:
    """By reviewer and key, the decisions that count about the lines of a file.

    Args:
        file: the JSONL file that was reviewed.

    Raises:
        FEAError: a line of a log is no decision.
    """
    return Reviews(file).read()


def agreement(first: Mapping[str, Decision], second: Mapping[str, Decision]) -> tuple[int, float | None]:
    """Agreement of two reviewers beyond chance, on the lines that both accepted or rejected.

    Returns:
        The number of these lines, and Cohen's kappa; None where chance alone would agree on all of them, or there is none.
    """
    pairs = [
        (decision.verdict == "accept", second[key].verdict == "accept")
        for key, decision in first.items()
        if key in second and "skip" not in (decision.verdict, second[key].verdict)
    ]
    return len(pairs), cohens_kappa([accepted for accepted, _ in pairs], [accepted for _, accepted in pairs])


def summary(reviews: Mapping[str, Mapping[str, Decision]]) -> list[str]:
    """Counts by verdict for each reviewer, and Cohen's kappa for each pair of them, one sentence each."""
    told = []
    for reviewer, decisions in reviews.items():
        counts = Counter(decision.verdict for decision in decisions.values())
        edited = sum(decision.verdict == "accept" and bool(decision.text) for decision in decisions.values())
        told.append(
            f"{reviewer}: {counts['accept']} accepted ({edited} of them edited), {counts['reject']} rejected, "
            f"{counts['skip']} skipped"
        )
    for first, second in combinations(reviews, 2):
        shared, kappa = agreement(reviews[first], reviews[second])
        value = "not defined" if kappa is None else f"{kappa:.2f}"
        told.append(f"{first} and {second}: Cohen's kappa {value} (lines that both accepted or rejected: {shared})")
    return told
