"""`fea report`: what an evaluation found, as one page that asks nobody for anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fea.errors import FEAError


def report(folder: Path, *, out: Path | None = None, pictures: bool = True, judged: Path | None = None) -> int:
    """Writes the page of an evaluation: one HTML file with its scores, faces and groups.

    Args:
        folder: with `metrics.json` and `predictions.jsonl`, as `fea test --protocol` and `fea score` write it.
        out: the page; by default `report.html` in the folder.
        pictures: whether small pictures of 24 faces stand in the file; without them it may go where the images may not.
        judged: OUT.summary.json of `fea judge` about these predictions, to be shown, too.

    Returns:
        0.

    Raises:
        FEAError: the folder holds no evaluation, or `judged` is something else.
    """
    from fea.protocols.scored import read
    from fea.reports.evaluation import REPORT, write_evaluation

    scored, cases = read(folder)
    place = out or folder / REPORT
    write_evaluation(place, scored, cases, pictures, _judgment(judged))
    print(f"written: {place}")
    return 0


def _judgment(file: Path | None) -> dict[str, Any] | None:
    import json

    if file is None:
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        complete = {"judge", "faces", "judged", "failed", "criteria"} <= found.keys()
    except (ValueError, AttributeError, RecursionError):
        complete = False
    if not complete:
        raise FEAError(f"judged: '{file}' is no summary of fea judge; name the OUT.summary.json that it wrote")
    return dict(found)
