"""What is told of an image, as a record, as a row of a table, and as a file."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fea.errors import FEAError
from fea.prompts.answer import Answer
from fea.system.files import PART, try_place
from fea.system.lines import append_bytes, jsonl

# What a spreadsheet would take for a formula, and may run; numbers are none.
_FORMULA = re.compile(r"(?![-+]?\d+(\.\d*)?([eE][-+]?\d+)?$)(\t|[\r\n]*[=+\-@\uff1d\uff0b\uff0d\uff20])")
NO_FACE = "no face"
_COLUMNS = ("image", "AUs", "emotion", "reasoning", "valid", "text", "error")


class Result(NamedTuple):
    """What a model says of an image, or why it says nothing.

    Example:
        Result("a.jpg", ("AU6", "AU12"), "happiness", "The cheeks are up (AU6), ...", True, "<think>...", "")

    Attributes:
        image: the file.
        aus: codes of the Action Units that the answer claims, by number.
        emotion: the answer's, in the words of the allowed emotions; "" if it names none of them.
        reasoning: the thinking, without its tags.
        valid: whether the answer is well-formed.
        text: the answer as it was written.
        error: why the image could not be read, or `NO_FACE`; "" if it was answered.
        face_id: of the faces of an image, from 0: the largest comes first.
        box: of the face: left, top, width and height in pixels of the upright image; None where faces were not looked for.
        score: how sure the detector is, from 0 to 1; None if it does not say.
        votes: by code of an Action Unit, the share of answers that claim it; None without samples.
        emotion_votes: by emotion, the share of answers that name it; None without samples.
        frame: of a film, from 0; None for a picture.
        time: of the frame, in seconds from the start of the film.
    """

    image: str
    aus: tuple[str, ...] = ()
    emotion: str = ""
    reasoning: str = ""
    valid: bool = False
    text: str = ""
    error: str = ""
    face_id: int = 0
    box: tuple[int, int, int, int] | None = None
    score: float | None = None
    votes: Mapping[str, float] | None = None
    emotion_votes: Mapping[str, float] | None = None
    frame: int | None = None
    time: float | None = None

    @property
    def row(self) -> dict[str, Any]:
        """The same as a row of a table, by column."""
        return dict(zip(_COLUMNS, self, strict=False)) | {"AUs": list(self.aus)}


def result_of(image: str, answer: Answer) -> Result:
    """The result of an image that was answered."""
    return Result(
        image=image,
        aus=tuple(f"AU{number}" for number in sorted(answer.aus)),
        emotion=answer.emotion or "",
        reasoning=(answer.think or "").strip(),
        valid=answer.well_formed,
        text=answer.text,
    )


def failure_of(image: str, skipped: Iterable[str]) -> Result:
    """The result of an image that could not be read.

    Args:
        image: the file.
        skipped: what the loader says of all images that it skipped.
    """
    place = f"{image}: "
    reason = next(reason for reason in skipped if reason.startswith(place))
    return Result(image, error=reason.removeprefix(place).rpartition("; ")[0])  # the advice is for data files


def to_csv(results: Sequence[Result], header: bool = True) -> str:
    """A table; the Action Units of a row are separated by spaces, and what a spreadsheet would run begins with a quote."""
    rows: list[dict[str, Any]] = [dict(zip(_COLUMNS, _COLUMNS, strict=True))] if header else []
    rows += [{**result.row, "AUs": " ".join(result.aus)} for result in results]
    buffer = io.StringIO()
    for row in rows:
        cells = [f"'{cell}" if _FORMULA.match(str(cell)) else cell for cell in row.values()]
        torn = any("\r" in str(cell) for cell in cells)  # which some readers take for the end of a line
        csv.writer(buffer, quoting=csv.QUOTE_ALL if torn else csv.QUOTE_MINIMAL, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def check_place(file: Path) -> None:
    """Finds out before the work whether answers can be written into a file.

    Raises:
        FEAError: it holds something else.
        OSError: there is no room, or no permission.
    """
    try_place(file)
    if file.exists() and not _holds_answers(file):
        raise FEAError(f"out: '{file}' exists and holds something else than answers; choose another name")
    part = file.with_name(f"{file.name}{PART}")
    if part.exists():
        raise FEAError(
            f"out: '{part}' holds the answers of a run that was interrupted; keep it under another name, or remove it"
        )


def _holds_answers(file: Path) -> bool:
    """Whether a file is empty or holds answers, by its first line."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        first = stream.readline(1 << 20)
    if file.suffix == ".csv" or not first:
        return first in (b"", to_csv([]).encode())
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and set(_COLUMNS) <= record.keys()


class AnswerFile:
    """A table that grows (.csv), or one JSON object a line (.jsonl); what is written is kept, whatever comes.

    Older answers stay until all new ones are there; until then these are in a file beside them.

    Args:
        file: where; `check_place` has passed it.

    Attributes:
        place: where the answers are by now.
        count: of the answers that are there.
    """

    def __init__(self, file: Path):
        self.file, self.count = file, 0
        old = file.exists() and file.stat().st_size > 0
        self.place = file.with_name(f"{file.name}{PART}") if old else file

    def write(self, results: Sequence[Result]) -> None:
        """Adds answers; they are on the disk when this returns."""
        if not self.count:
            self._begin()
        if self.file.suffix == ".csv":
            added = to_csv(results, header=not self.count).encode(errors="backslashreplace")
        else:
            added = jsonl(result.row for result in results)
        try:
            append_bytes(self.place, added)
        except OSError as error:
            error.filename = str(self.file)  # which its user has named
            raise
        self.count += len(results)

    def _begin(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if self.place != self.file:
            self.place.touch()
            # Who may not read the older ones may not read these.
            self.place.chmod(stat.S_IMODE(self.file.stat().st_mode))

    def finish(self) -> None:
        """Puts the answers into the place of the older ones."""
        if self.place != self.file:
            os.replace(self.place, self.file)
            self.place = self.file
