"""JSON lines: one value a line, in files that are whole or not there, and in files that only grow.

A line of a growing file counts once its line break is there; what a kill left of a last line has none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fea.errors import FEAError
from fea.system.files import naming, write_atomically


def jsonl(records: Iterable[Any]) -> bytes:
    """One JSON value a line."""
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return text.encode(
        errors="backslashreplace"
    )  # of half a character, as in the name of a file, JSON has the same escape


def write_jsonl(file: Path, records: Iterable[Any]) -> None:
    """Writes one JSON value a line, whole or not at all."""
    write_atomically(file, jsonl(records))


def check_own(file: Path, keys: Collection[str], what: str) -> None:
    """Refuses to write over a file that is of something else, such as the one that is read.

    Args:
        file: where lines are to be written.
        keys: that each of them has.
        what: the lines are, in the plural.

    Raises:
        FEAError: the file holds something, whose first line is no object with these keys.
    """
    if not file.is_file() or not file.stat().st_size:
        return
    with file.open("rb") as stream:
        first = stream.readline(1 << 20)  # of lines that are far shorter
    try:
        ours = set(keys) <= set(json.loads(first))
    except (ValueError, TypeError, RecursionError):
        ours = False
    if not ours:
        raise FEAError(f"out: '{file}' exists and holds something else than {what}; choose another name")


def append(file: Path, records: Iterable[Any], keep: int | None = None) -> None:
    """Adds lines to a file. They are on the disk when this returns.

    Args:
        file: made if it is not there; with `keep` it has to be.
        records: one JSON value for each line.
        keep: bytes of the file that stay; what follows them, such as a line that a kill cut short, is cut off. None: all.

    Raises:
        OSError: the disk refused, and the lines are taken away again as far as it lets us.
    """
    append_bytes(file, jsonl(records), keep)


def append_bytes(file: Path, added: bytes, keep: int | None = None) -> None:
    """Like `append`, with lines that are written out already."""
    held = file.stat().st_size if file.exists() else 0
    end = held if keep is None else keep
    try:
        with naming(file), file.open("ab" if keep is None else "r+b") as stream:
            stream.seek(end)
            stream.truncate()
            stream.write(added)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        with suppress(OSError):
            os.truncate(file, end)  # what the caller hears was not kept must not count later
        raise


def keep_lines(file: Path, count: int) -> None:
    """Cuts off what follows the first lines of a file; makes an empty one if there is none."""
    file.touch()
    end = sum(len(line) + 1 for line in file.read_bytes().split(b"\n")[:-1][:count])
    if end < file.stat().st_size:
        os.truncate(file, end)


def lines_of(file: Path) -> Iterator[Any]:
    """The values of a file, one at a time; a last line that was being written is left out."""
    with file.open("rb") as stream:
        yield from (json.loads(line) for line in stream if line.endswith(b"\n"))


def whole_lines(file: Path) -> list[Any]:
    """The values of a file; a last line that was being written is left out. A file that is not there has none."""
    return [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]] if file.exists() else []
