"""Objects of a JSON file: a list, or one a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from fea.datasets.reading import lines_of
from fea.errors import FEAError


def objects_of(file: Path) -> Iterator[tuple[int, Any]]:
    """Number and value of each object, from 1; None for a line that is no JSON.

    Raises:
        FEAError: the file is not there, or is neither a list nor lines.
    """
    lines = lines_of(file)
    first = next((line for line in lines if line.strip()), "")
    if first.lstrip().startswith("["):
        yield from enumerate(_listed(file), 1)
        return
    if not first.lstrip().startswith("{"):
        raise FEAError(f"'{file}' is neither a JSON list nor one JSON object a line; check which file is meant")
    for number, line in enumerate((line for line in chain((first,), lines) if line.strip()), 1):
        yield number, _object(line)


def _listed(file: Path) -> list[Any]:
    try:
        found = json.loads("".join(lines_of(file)))
    except (ValueError, RecursionError) as error:
        raise FEAError(f"'{file}' is broken JSON ({error}); fetch it again") from None
    return found if isinstance(found, list) else [found]


def _object(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
