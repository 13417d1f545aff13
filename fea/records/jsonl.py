"""Data files line by line: the number of each line, its JSON and its record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fea.errors import FEAError
from fea.records.formats import expect_lines, slip
from fea.records.record import Record, Rules, read_record


def read_lines(file: Path, rules: Rules) -> Iterator[tuple[int, Any, Record | FEAError | None]]:
    """Line number, raw JSON and record of every line with content.

    Yields:
        An FEAError in place of the record for a line that cannot be read, None for one marked as invalid.

    Raises:
        FEAError: there is no such file, or it is of another format.
    """
    expect_lines(file)
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, *_read_line(line, number, rules, file)


def _read_line(line: bytes, number: int, rules: Rules, file: Path) -> tuple[Any, Record | FEAError | None]:
    try:
        raw = json.loads(line.decode("utf-8-sig").rstrip())
        if b"\\u" in line:  # half of a surrogate pair may be escaped in JSON, but no text holds one
            json.dumps(raw, ensure_ascii=False).encode()
        return raw, read_record(raw, number, rules)
    except json.JSONDecodeError as error:
        found = slip(line.decode("utf-8-sig"))
        why = f" ({found})" if found else ""
        return None, FEAError(f"{file}:{number}: broken JSON, {error.msg} at column {error.colno}{why}")
    except UnicodeError:
        return None, FEAError(f"{file}:{number}: not UTF-8 text")
    except RecursionError:
        return None, FEAError(f"{file}:{number}: JSON nested too deeply")
    except FEAError as error:
        return None, FEAError(f"{file}:{number}: {error}")
    except ValueError:
        return None, FEAError(f"{file}:{number}: a number with too many digits")
