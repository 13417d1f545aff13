"""The files of a synthesis: accepted lines, and a line for every face that was tried.

Batches are appended whole: first what was accepted, then that it was tried. A run that was killed goes on after the last
batch of which all lines are there; what belongs to none is cut off. Nothing is lost and nothing is written twice. The first of
several processes writes.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fea.data.example import Example
from fea.errors import FEAError
from fea.evaluation.scores import au_f1
from fea.synthesis.admission import Admitted
from fea.synthesis.attempts import Outcome
from fea.system.files import lock, write_atomically
from fea.system.processes import rank

TRIED = ".tried"  # ends the name of the file with a line for every face


class Journal:
    """What has been tried so far.

    Args:
        file: for the accepted lines; `FILE.tried` stands beside it.
        settings: what decides the outcome, as plain values; a journal goes on only with the same.
        image_root: folder that the images of the accepted lines are relative to.
        provenance: what every line says of its origin; "round" is the number of the synthesis.

    Attributes:
        batches: that are complete.

    Raises:
        FEAError: another process is writing it, or it was begun with other settings, or not by a synthesis.
    """

    def __init__(self, file: Path, settings: dict[str, Any], image_root: Path, provenance: dict[str, Any]):
        self.file, self.tried = file, tried_of(file)
        self.image_root = image_root.resolve()
        self.provenance, self.round = provenance, int(provenance["round"])
        if file.exists() and not self.tried.exists():
            raise FEAError(f"out: '{file}' exists and was not written by a synthesis; choose another name")
        self._lock = lock(file.with_name(f".{file.name}.lock")) if rank() == 0 else None
        if rank() == 0 and self._lock is None:
            raise FEAError(f"out: another process is writing '{file}'; wait for its end, or choose another name")
        settings = {**settings, "images": os.path.relpath(self.image_root, file.parent.resolve())}
        header, *entries = whole_lines(self.tried) or [settings]
        if entries and header != settings:
            differing = (name for name in header.keys() | settings.keys() if header.get(name) != settings.get(name))
            names = ", ".join(sorted(differing))
            raise FEAError(
                f"out: '{file}' was begun with other settings ({names}); use the same, or choose another name"
            )
        sizes = Counter(entry["batch"] for entry in entries)
        whole = [entry for entry in entries if sizes[entry["batch"]] == entry["of"]]
        self.batches = 1 + max((entry["batch"] for entry in whole), default=-1)
        if rank() == 0:
            accepted = sum(entry["accepted"] for entry in whole)
            _rewrite(self.tried, [settings, *whole])
            _rewrite(file, whole_lines(file)[:accepted])

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Appends a batch."""
        if rank() == 0:
            _append(self.file, [self._line(outcome) for outcome in outcomes if outcome.answer])
            _append(self.tried, [self._entry(outcome, len(outcomes)) for outcome in outcomes])
        self.batches += 1

    def _line(self, outcome: Outcome) -> dict[str, Any]:
        """An accepted analysis in FEA-20K format, with where it comes from in `meta_info`."""
        example, answer, judged = outcome.example, outcome.answer, outcome.judged
        assert answer is not None
        origin = {
            **self.provenance,
            "attempt": outcome.attempts,
            "revealed": outcome.revealed,
            "au_f1": au_f1(answer, judged),
        }
        if judged != example:  # what a vote says is no label
            origin["voted"] = {"labels": list(judged.labels), "AUs": sorted(judged.aus or ())}
        meta = json.loads(example.meta)
        return {
            "id": example.id,
            "dataset": example.dataset,
            "image": os.path.relpath(Path(example.image).resolve(), self.image_root),
            "question": example.question,
            **_known(example),
            "description": answer.text,
            "meta_info": {**(meta if isinstance(meta, dict) else {"meta_info": meta}), "synthesis": origin},
        }

    def _entry(self, outcome: Outcome, of: int) -> dict[str, Any]:
        return {
            "batch": self.batches,
            "of": of,
            "id": outcome.example.id,
            "place": outcome.example.place,
            "dataset": outcome.example.dataset,
            "accepted": outcome.answer is not None,
            "attempts": outcome.attempts,
            "revealed": outcome.revealed,
            "labels": list(outcome.judged.labels),
            "units": sorted(outcome.judged.present),
            "reasons": outcome.reasons,
            **self.provenance,
        }


def _known(example: Example) -> dict[str, Any]:
    """The labels of a face; what is unknown is left out, so that it is read as unknown again."""
    coded = [f"AU{number}" for number in sorted(example.coded)]
    units = {} if example.aus is None else {"AUs": sorted(example.aus), "AUs_coded": coded}
    scores = {"AU_intensities": dict(example.intensities), "valence": example.valence, "arousal": example.arousal}
    return {
        **units,
        "labels": list(example.labels),
        **{name: value for name, value in scores.items() if value not in (None, {})},
    }


def admitted(file: Path) -> list[Admitted]:
    """The accepted analyses of a file."""
    entries = [entry for entry in whole_lines(tried_of(file))[1:] if entry["accepted"]]
    return [
        Admitted(tuple(entry["labels"]), frozenset(entry["units"]), line["description"])
        for entry, line in zip(entries, whole_lines(file), strict=True)
    ]


def tried_of(file: Path) -> Path:
    """The file with a line for every face that was tried, beside one with accepted lines."""
    return file.with_name(f"{file.name}{TRIED}")


def images_of(file: Path) -> Path:
    """The image root of a file with accepted lines."""
    return (file.parent / str(whole_lines(tried_of(file))[0]["images"])).resolve()


def whole_lines(file: Path) -> list[Any]:
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
