"""Answers as a file that grows with them, and that an interrupted run can go on with.

Beside an unfinished file lies another one, `.resume`, which says how the run was asked and, a line for each part of the work,
up to which image and to which byte the answers are whole. A run that goes on cuts off what a kill left behind that, and asks
about the next image, so that the file is in the end what it would have been.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fea.analysis.layout import Format, Layout, to_csv
from fea.analysis.parquet import write_parquet
from fea.analysis.tables import COLUMNS, Result, Tally
from fea.errors import FEAError
from fea.system.files import PART, try_place
from fea.system.lines import append, append_bytes, jsonl, whole_lines

ENDINGS = (".csv", ".jsonl", ".parquet")
_RESUME = ".resume"
DIGEST = "list of images"  # of what answers depend on, the one that is kept as a digest, which tells a reader nothing


class Place(NamedTuple):
    """How far the work is.

    Attributes:
        item: number of the first input that is not done.
        frame: of a film, number of the first of the frames that are asked about which is not done.
    """

    item: int = 0
    frame: int = 0


def check_out(out: str | None, format: Format, resume: bool = False) -> None:
    """Finds out before the work whether answers can be written where the command line says; None: they are printed.

    Args:
        out: where.
        format: columns of a table.
        resume: whether answers of an interrupted run are to be gone on with.

    Raises:
        FEAError: the file has another ending, cannot have such columns, or holds something else.
        OSError: there is no room, or no permission.
    """
    if not out:
        return
    if Path(out).suffix not in ENDINGS:
        raise FEAError(f"out: '{out}' ends neither in .csv nor in .jsonl or .parquet")
    if Path(out).suffix == ".jsonl" and format != "fea":
        raise FEAError(f"format: '{format}' is a table, and '{out}' holds none; give out the ending .csv or .parquet")
    check_place(Path(out), resume)


def check_place(file: Path, resume: bool = False) -> None:
    """Finds out before the work whether answers can be written into a file.

    Args:
        file: where.
        resume: whether those of an interrupted run are to be gone on with.

    Raises:
        FEAError: it holds something else, or answers of an interrupted run, or of one that is complete and to be gone on with.
        OSError: there is no room, or no permission.
    """
    try_place(file)
    part, log = file.with_name(f"{file.name}{PART}"), _log_of(file)
    if log.exists() and resume:
        return
    if resume and file.exists() and file.stat().st_size and not part.exists():
        raise FEAError(
            f"resume: '{file}' is complete; leave resume out to have its answers replaced, or choose another name"
        )
    if file.exists() and not _holds_answers(file):
        raise FEAError(f"out: '{file}' exists and holds something else than answers; choose another name")
    if log.exists():
        raise FEAError(
            f"out: '{file}' was begun by a run that was interrupted; go on with --resume, or remove '{log}' to begin anew"
        )
    if part.exists():
        raise FEAError(
            f"out: '{part}' holds the answers of a run that was interrupted; keep it under another name, or remove it"
        )


def _word(value: object) -> object:
    return "none" if value is None else value


def _log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}{_RESUME}")


def _holds_answers(file: Path) -> bool:
    """Whether a file is empty or holds answers, by its first line."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        first = stream.readline(1 << 20)
    if not first:
        return True
    if file.suffix == ".parquet":
        return first.startswith(b"PAR1")
    if file.suffix == ".csv":
        names = first.decode(errors="replace").rstrip("\r\n").split(",")
        formats = (
            Layout(format, film=film) for format in ("pyfeat", "openface", "libreface") for film in (False, True)
        )
        return tuple(names[: len(COLUMNS)]) == COLUMNS or tuple(names) in [layout.header for layout in formats]
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and set(COLUMNS) <= record.keys()


class AnswerFile:
    """A table that grows (.csv), one JSON object a line (.jsonl), or a table that is made of such lines at the end (.parquet).

    Older answers stay until all new ones are there; until then these are in a file beside them. What is written is kept,
    whatever comes.

    Args:
        file: where; `check_place` has passed it.
        layout: the columns.
        settings: what the answers depend on, by name, so that a run may go on with them; None: none will.

    Attributes:
        written: where the answers are by now.
        count: of the answers that are there.
        place: where the work goes on.
        tally: of what could not be read.
    """

    def __init__(self, file: Path, layout: Layout | None = None, settings: Mapping[str, Any] | None = None):
        self.file, self.layout, self.settings = file, layout or Layout(), settings
        self.count, self.place, self.tally, self._done = 0, Place(), Tally(), False
        old = file.exists() and file.stat().st_size > 0
        self.written = file.with_name(f"{file.name}{PART}") if old or file.suffix == ".parquet" else file

    def resume(self) -> bool:
        """Goes on with what an interrupted run left, if it left anything; whether it did.

        Raises:
            FEAError: it was asked otherwise, or what it left was changed since.
        """
        lines = whole_lines(_log_of(self.file))
        if not lines:
            return False
        begun, last = lines[0], lines[-1] if len(lines) > 1 else None
        for name, value in json.loads(json.dumps(self.settings)).items():
            earlier = begun["settings"].get(name)
            if earlier != value:
                shown = "" if name == DIGEST else f" ({_word(earlier)}, not {_word(value)})"
                raise FEAError(
                    f"resume: '{self.file}' was begun with another {name}{shown}; give the same, or remove "
                    f"'{_log_of(self.file)}' to begin anew"
                )
        self.written = self.file.with_name(begun["written"])
        if last is None:
            return False
        self._done = last["done"] and not self.written.exists()
        if not self._done:
            if not self.written.exists() or self.written.stat().st_size < last["bytes"]:
                raise FEAError(
                    f"resume: '{self.written}' does not hold the answers that were written; remove '{_log_of(self.file)}' to "
                    "begin anew"
                )
            os.truncate(self.written, last["bytes"])
        self.count, self.place = last["count"], Place(*last["place"])
        self.tally = Tally(*(last.get(name, 0) for name in Tally._fields))  # an earlier release counted less
        return True

    def write(self, results: Sequence[Result], place: Place | None = None) -> None:
        """Adds answers; they are on the disk when this returns.

        Args:
            results: the answers.
            place: where the work goes on behind them; None if it would have to do them again.
        """
        if not self.count:
            self._begin()
        if self.file.suffix == ".csv":
            added = to_csv(results, not self.count, self.layout).encode(errors="backslashreplace")
        elif self.file.suffix == ".parquet":
            added = jsonl(self.layout.cells(result) for result in results)
        else:
            added = jsonl(self.layout.record(result) for result in results)
        try:
            append_bytes(self.written, added)
        except OSError as error:
            error.filename = str(self.file)  # which its user has named
            raise
        self.count += len(results)
        self.tally = self.tally.plus(results)
        if place is not None:
            self.place = place
            self._log(done=False)

    def _begin(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if self.written != self.file:
            self.written.touch()
            if self.file.exists():  # who may not read the older ones may not read these
                self.written.chmod(stat.S_IMODE(self.file.stat().st_mode))
        self.written.touch()
        os.truncate(self.written, 0)  # of a run that was killed before its first part was whole
        if self.settings is not None:
            _log_of(self.file).unlink(missing_ok=True)
            append(_log_of(self.file), [{"settings": self.settings, "written": self.written.name}])

    def _log(self, done: bool) -> None:
        if self.settings is not None:
            told = {"place": self.place, "bytes": self.written.stat().st_size, "count": self.count}
            append(_log_of(self.file), [{**told, **self.tally._asdict(), "done": done}])

    def finish(self) -> None:
        """Puts the answers into the place of the older ones."""
        if not self._done:
            self._log(done=True)
            if self.file.suffix == ".parquet":
                write_parquet(self.file, self.written, self.layout.header)
                self.written.unlink()
            elif self.written != self.file:
                os.replace(self.written, self.file)
        self.written = self.file
        _log_of(self.file).unlink(missing_ok=True)
