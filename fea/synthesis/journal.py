"""The files of a synthesis: accepted lines, and a line for every face that was tried.

Batches are appended whole: first what was accepted, then that it was tried. A run that was killed goes on after the last
batch of which all lines are there; what belongs to none is cut off. Nothing is lost and nothing is written twice. The first of
several processes writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fea.data.example import Example
from fea.errors import FEAError
from fea.evaluation.scores import au_f1
from fea.synthesis.admission import Admitted
from fea.synthesis.attempts import Outcome
from fea.synthesis.tried import Tried, accepted_lines, command_of, of_whole_batches, read_tried, tried_of
from fea.system.files import lock, try_place
from fea.system.lines import append, keep_lines, write_jsonl
from fea.system.processes import rank


def check_place(file: Path) -> None:
    """Finds out before the work whether a synthesis can write a file, or go on with it.

    Raises:
        FEAError: it was not written by a synthesis, or it or the file of what was tried was changed by hand.
        OSError: there is no room, or no permission.
    """
    if command := command_of(file):
        raise FEAError(f"out: '{file}' was written by {command}; choose another name")
    if file.exists() and not tried_of(file).exists():
        raise FEAError(f"out: '{file}' exists and was not written by a synthesis; choose another name")
    try_place(file)
    try_place(tried_of(file))
    accepted_lines(file, of_whole_batches(read_tried(file)[1]))


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
        if rank() == 0:
            check_place(file)
        self._lock = lock(file.with_name(f".{file.name}.lock")) if rank() == 0 else None
        if rank() == 0 and self._lock is None:
            raise FEAError(f"out: another process is writing '{file}'; wait for its end, or choose another name")
        settings = {**settings, "images": os.path.relpath(self.image_root, file.parent.resolve())}
        begun_with, entries = read_tried(file)
        if entries and begun_with != settings:
            raise FEAError(
                f"out: '{file}' was begun with other settings ({_differing(begun_with, settings)}); use the same, or choose "
                "another name"
            )
        complete = of_whole_batches(entries)
        self.batches = 1 + max((entry.batch for entry in complete), default=-1)
        if rank() == 0:
            accepted = len(accepted_lines(file, complete))
            if not entries:
                write_jsonl(self.tried, [settings])
            keep_lines(self.tried, 1 + len(complete))
            keep_lines(file, accepted)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Appends a batch."""
        if rank() == 0:
            append(self.file, [self._line(outcome) for outcome in outcomes if outcome.answer])
            append(self.tried, [self._entry(outcome, len(outcomes))._asdict() for outcome in outcomes])
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
            **known(example),
            "description": answer.text,
            "meta_info": {**(meta if isinstance(meta, dict) else {"meta_info": meta}), "synthesis": origin},
        }

    def _entry(self, outcome: Outcome, of: int) -> Tried:
        return Tried(
            batch=self.batches,
            of=of,
            id=outcome.example.id,
            place=outcome.example.place,
            dataset=outcome.example.dataset,
            accepted=outcome.answer is not None,
            attempts=outcome.attempts,
            revealed=outcome.revealed,
            labels=outcome.judged.labels,
            units=sorted(outcome.judged.present),
            reasons=outcome.reasons,
            **self.provenance,
        )


def _differing(begun_with: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    names = begun_with.keys() | settings.keys()
    return ", ".join(sorted(name for name in names if begun_with.get(name) != settings.get(name)))


def known(example: Example) -> dict[str, Any]:
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
    """The accepted analyses of a file.

    Raises:
        FEAError: it, or the file of what was tried, was changed by hand.
    """
    entries = [entry for entry in of_whole_batches(read_tried(file)[1]) if entry.accepted]
    return [
        Admitted(tuple(entry.labels), frozenset(entry.units), line["description"])
        for entry, line in zip(entries, accepted_lines(file, entries), strict=True)
    ]
