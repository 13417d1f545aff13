"""The files of a synthesis: accepted lines, a line for every face that was tried, and a card that sums them up.

Batches are appended whole: first what was accepted, then that it was tried. A run that was killed goes on after the last
batch of which all lines are there; what belongs to none is cut off. Nothing is lost and nothing is written twice.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fea.errors import FEAError
from fea.files import write_atomically
from fea.synthesis import Outcome, record


class Journal:
    """What has been tried so far.

    Args:
        file: for the accepted lines; `FILE.tried` and `FILE.md` stand beside it.
        settings: what decides the outcome, as plain values; a journal goes on only with the same.

    Attributes:
        batches: that are complete.

    Raises:
        FEAError: the file was begun with other settings, or not by a synthesis.
    """

    def __init__(self, file: Path, settings: dict[str, Any]):
        self.file, self.tried, self.settings = file, file.with_name(f"{file.name}.tried"), settings
        if file.exists() and not self.tried.exists():
            raise FEAError(f"out: '{file}' exists and was not written by a synthesis; choose another name")
        header, *entries = _whole_lines(self.tried) or [settings]
        if header != settings:
            names = ", ".join(sorted(name for name in header if header[name] != settings.get(name)))
            raise FEAError(
                f"out: '{file}' was begun with other settings ({names}); use the same, or choose another name"
            )
        sizes = Counter(entry["batch"] for entry in entries)
        whole = [entry for entry in entries if sizes[entry["batch"]] == entry["of"]]
        self.batches = len({entry["batch"] for entry in whole})
        ids = {entry["id"] for entry in whole if entry["accepted"]}
        _rewrite(self.tried, [settings, *whole])
        _rewrite(file, [line for line in _whole_lines(file) if line["id"] in ids])

    def add(self, outcomes: Sequence[Outcome], image_root: Path, provenance: dict[str, Any]) -> None:
        """Appends a batch."""
        _append(self.file, [record(outcome, image_root, provenance) for outcome in outcomes if outcome.answer])
        _append(self.tried, [_entry(outcome, self.batches, len(outcomes)) for outcome in outcomes])
        self.batches += 1

    def card(self) -> str:
        """Counts by class, unit and reason, as Markdown; written beside the file, too."""
        entries = _whole_lines(self.tried)[1:]
        accepted = [entry for entry in entries if entry["accepted"]]
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        lines = [
            f"# {self.file.name}\n",
            f"{len(accepted)} of {len(entries)} faces have an analysis that passed the triple check; "
            f"{sum(entry['revealed'] for entry in accepted)} of these were written with the labels in sight.\n",
            f"Settings: {settings}.\n",
            *_yields("emotion", entries, "labels"),
            *_yields("Action Unit", entries, "AUs"),
            *_reasons(entries),
        ]
        text = "\n".join(lines) + "\n"
        write_atomically(self.file.with_suffix(".md"), text.encode())
        return text


def _yields(name: str, entries: Sequence[dict[str, Any]], key: str) -> list[str]:
    tried = Counter(label for entry in entries for label in entry[key])
    kept = Counter(label for entry in entries if entry["accepted"] for label in entry[key])
    rows = [
        f"| {label} | {count} | {kept[label]} | {kept[label] / count:.0%} |" for label, count in sorted(tried.items())
    ]
    return [f"| {name} | tried | accepted | yield |", "|---|---|---|---|", *rows, ""]


def _reasons(entries: Sequence[dict[str, Any]]) -> list[str]:
    counts = Counter(
        (reason, label)
        for entry in entries
        for reasons in entry["reasons"]
        for reason in reasons
        for label in entry["labels"] or ["unknown"]
    )
    classes = sorted({label for _, label in counts})
    rows = [
        f"| {reason} | {' | '.join(str(counts[reason, label]) for label in classes)} |"
        for reason in sorted({reason for reason, _ in counts})
    ]
    return [f"| rejected attempts | {' | '.join(classes)} |", f"|---|{'---|' * len(classes)}", *rows] if rows else []


def _entry(outcome: Outcome, batch: int, of: int) -> dict[str, Any]:
    return {
        "batch": batch,
        "of": of,
        "id": outcome.example.id,
        "accepted": outcome.answer is not None,
        "attempts": outcome.attempts,
        "revealed": outcome.revealed,
        "labels": list(outcome.example.labels),
        "AUs": sorted(outcome.example.aus or ()),
        "reasons": outcome.reasons,
    }


def _whole_lines(file: Path) -> list[Any]:
    """The lines of a file; one that was being written is left out."""
    return [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]] if file.exists() else []


def _rewrite(file: Path, entries: Iterable[Any]) -> None:
    write_atomically(file, b"".join(map(_line, entries)))


def _append(file: Path, entries: Iterable[Any]) -> None:
    with file.open("ab") as stream:
        stream.write(b"".join(map(_line, entries)))
        stream.flush()
        os.fsync(stream.fileno())


def _line(entry: Any) -> bytes:
    return (json.dumps(entry, ensure_ascii=False) + "\n").encode()
