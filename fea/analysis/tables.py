"""What is told of an image, as a record, as a row of a table, and as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fea.prompts.answer import Answer
from fea.system.files import write_atomically
from fea.system.lines import jsonl

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
        error: why the image could not be read; "" if it could.
    """

    image: str
    aus: tuple[str, ...] = ()
    emotion: str = ""
    reasoning: str = ""
    valid: bool = False
    text: str = ""
    error: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """The same as a row of a table, by column."""
        return dict(zip(_COLUMNS, self, strict=True)) | {"AUs": list(self.aus)}


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


def to_csv(results: Sequence[Result]) -> str:
    """A table with a header; the Action Units of a row are separated by spaces."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**result.row, "AUs": " ".join(result.aus)} for result in results)
    return buffer.getvalue()


def write_results(results: Sequence[Result], file: Path) -> None:
    """Writes a table, or with the ending .jsonl one JSON object a line, whole or not at all."""
    lines = file.suffix == ".jsonl"
    write_atomically(file, jsonl(result.row for result in results) if lines else to_csv(results).encode())
