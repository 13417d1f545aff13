"""Where the decisions of reviewers are kept: logs that only grow.

    FILE.reviews/REVIEWER.jsonl    {"key", "verdict", "reason", "text", "time"}, one decision a line

Verdict "undo" takes back the last decision about its key. A last line that a kill cut short was never confirmed to the
reviewer, and is ignored. Logs are files like others: each is looked at again before it is read on or written, since an
editor, a copy of the folder or a full disk may have been there.
"""

from __future__ import annotations

import json
from collections.abc import Container
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from fea.errors import FEAError
from fea.review.decisions import VERDICTS, Decision
from fea.system.files import lock, write_atomically
from fea.system.lines import append, jsonl

# The logs that this process is writing: a lock keeps out other processes only.
_WRITING: WeakValueDictionary[Path, OwnLog] = WeakValueDictionary()


class Log:
    """One reviewer's decisions about a file. It is read on from where it was read last.

    Args:
        path: of the log; it need not be there yet.

    Attributes:
        standing: the decisions that were not taken back, oldest first.
    """

    def __init__(self, path: Path):
        self.path = path
        self._begin()

    def _begin(self) -> None:
        self.standing: list[Decision] = []
        self._bytes = self._lines = 0  # that have been read
        self._last = b""  # the last of these lines

    @property
    def decisions(self) -> dict[str, Decision]:
        """By key, the decision that counts."""
        return {decision.key: decision for decision in self.standing}

    def read_on(self) -> None:
        """Takes in what was added; all of a log that was cut or replaced since it was read last.

        Raises:
            FEAError: a line is no decision.
        """
        with self.path.open("rb") as stream:
            stream.seek(self._bytes - len(self._last))
            if stream.read(len(self._last)) != self._last:
                self._begin()
                stream.seek(0)
            added = stream.read()
        self._take(added)

    def _take(self, added: bytes) -> None:
        """Takes in the whole lines of what was added, all of them or, if one is no decision, none."""
        lines = [line + b"\n" for line in added.split(b"\n")[:-1]]
        entries = [self._entry(line, self._lines + number) for number, line in enumerate(lines, 1)]
        for verdict, decision in entries:
            if verdict == "undo":
                about = [number for number, earlier in enumerate(self.standing) if earlier.key == decision.key]
                if about:  # a line of a log that was edited by hand may take back what is not there
                    del self.standing[about[-1]]
            else:
                self.standing.append(decision)
        self._bytes, self._lines = self._bytes + sum(map(len, lines)), self._lines + len(lines)
        self._last = lines[-1] if lines else self._last

    def _entry(self, line: bytes, number: int) -> tuple[str, Decision]:
        try:
            entry = json.loads(line)
            verdict, decision = entry["verdict"], Decision(*(entry[name] for name in Decision._fields))
            if not all(isinstance(value, str) for value in decision):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise FEAError(f"{self.path}:{number}: this is no decision; mend or delete the line") from None
        if verdict not in (*VERDICTS, "undo"):
            raise FEAError(f"{self.path}:{number}: verdict '{verdict}' is none of {', '.join(VERDICTS)}, undo")
        return verdict, decision


class OwnLog(Log):
    """The log of the reviewer who decides here: each decision is on the disk before the next one is asked for.

    What was decided here counts, whatever becomes of the file: it is compared before anything is written to it.

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
        self._held = path.read_bytes()  # what the file has to hold; at first with what a kill left of a last line
        self._take(self._held)

    def close(self) -> None:
        """Lets another process decide under this name.

        Raises:
            FEAError: another program has changed the log; what is right stands in it now.
        """
        if _WRITING.get(self._place) is not self:
            return
        del _WRITING[self._place]
        try:
            changed = self._mended()
        finally:
            self._lock.close()
        if changed:
            raise FEAError(changed)

    def read_on(self) -> None:
        """Nothing: whatever counts was decided here, or is noticed before the next decision."""

    def add(self, decision: Decision) -> None:
        """Appends a decision.

        Raises:
            FEAError: the log cannot be written, or another program has changed it; this decision is not kept.
        """
        self._append(decision._asdict())

    def undo(self, among: Container[str]) -> str | None:
        """Takes back the last decision about one of some keys.

        Returns:
            The key; None if there is no decision to take back.

        Raises:
            FEAError: as with `add`.
        """
        key = next((decision.key for decision in reversed(self.standing) if decision.key in among), None)
        if key is not None:
            self._append({"key": key, "verdict": "undo", "reason": "", "text": ""})
        return key

    def _append(self, entry: dict[str, Any]) -> None:
        line = {**entry, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            changed = self._mended()
            if changed:
                raise FEAError(f"{changed}; this one was not kept: look at the line again, and decide once more")
            append(self.path, [line], keep=self._bytes)  # a line that a kill cut short goes
        except OSError as error:
            raise FEAError(f"'{self.path}' cannot be written ({error.strerror}); this was not kept") from None
        self._held = self._held[: self._bytes] + jsonl([line])
        self._take(jsonl([line]))

    def _mended(self) -> str:
        """Puts right what another program did to the log, and says what that was; "" if it did nothing."""
        now = self.path.read_bytes() if self.path.is_file() else None
        whole = self._held[: self._bytes]
        if now in (self._held, whole):
            return ""
        if now and now.startswith(whole) and now.endswith(b"\n"):
            with suppress(FEAError):  # it may have added what is no decision
                self._take(now[len(whole) :])
                self._held = now
                return f"another program has added decisions to '{self.path}', and they count"
        kept = f"what it left is '{self._moved_aside().name}' now, and " if now or self.path.exists() else ""
        write_atomically(self.path, whole)
        self._held = whole
        return f"another program has changed '{self.path}': {kept}all decisions so far stand in it again"

    def _moved_aside(self) -> Path:
        """Gives what stands in the place of the log a name of its own."""
        names = (self.path.with_name(f"{self.path.name}.changed-{number}") for number in count(1))
        return self.path.rename(next(name for name in names if not name.exists()))


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
