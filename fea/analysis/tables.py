"""Answers as rows of a table, and tables as files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from fea.prompts.answer import Answer

_COLUMNS = ("image", "AUs", "emotion", "reasoning", "valid", "text", "error")


def answer_row(image: str, answer: Answer) -> dict[str, Any]:
    """One answer as a row of a table."""
    return {
        "image": image,
        "AUs": [f"AU{number}" for number in sorted(answer.aus)],
        "emotion": answer.emotion or "",
        "reasoning": (answer.think or "").strip(),
        "valid": answer.well_formed,
        "text": answer.text,
        "error": "",
    }


def _failed_row(image: str, skipped: Iterable[str]) -> dict[str, Any]:
    place = f"{image}: "
    reason = next(reason for reason in skipped if reason.startswith(place))
    error = reason.removeprefix(place).rpartition("; ")[0]  # the advice is for data files
    return dict.fromkeys(_COLUMNS, "") | {"image": image, "AUs": [], "valid": False, "error": error}


def _csv(rows: list[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "AUs": " ".join(row["AUs"])} for row in rows)
    return buffer.getvalue()


def _jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
