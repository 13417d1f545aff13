"""The files of preference pairs: a line for each pair, and one for every face that was looked at, with why it has none.

    PAIRS.jsonl           the pairs, in FEA-20K format with the key 'rejected'
    PAIRS.jsonl.tried     first how they are made, then a line for every face
    PAIRS.images/         pictures that were drawn for them

Batches are appended whole: pictures, then pairs, then what was tried. A run that was killed goes on after the last batch of
which all lines are there; what belongs to none is cut off.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fea.errors import FEAError
from fea.pairs.made import Made
from fea.synthesis.journal import known
from fea.system.files import lock, try_place, write_atomically
from fea.system.lines import append, keep_lines, whole_lines, write_jsonl

_TRIED = ".tried"  # ends the name of the file with a line for every face
_COMMAND = "fea data pairs"


def check_place(file: Path) -> None:
    """Finds out before the work whether pairs can be written into a file, or added to it.

    Raises:
        FEAError: it was not written by `fea data pairs`, or was changed by hand.
        OSError: there is no room, or no permission.
    """
    if file.exists() and not _tried(file).exists():
        raise FEAError(f"out: '{file}' exists and was not written by fea data pairs; choose another name")
    try_place(file)
    try_place(_tried(file))
    settings, entries = _read(file)
    if settings and settings.get("command") != _COMMAND:
        raise FEAError(f"out: '{file}' was written by another command of fea; choose another name")
    kept = sum(entry["kept"] for entry in _whole(entries))
    there = len(whole_lines(file))
    if there < kept:
        raise FEAError(
            f"out: '{file}' holds {there} pairs, and '{_tried(file).name}' tells of {kept}: lines were taken away by hand; "
            "choose another name, or remove both files"
        )


class Journal:
    """What has been made so far.

    Args:
        file: for the pairs.
        settings: what decides them, as plain values; a journal goes on only with the same.
        image_root: folder that their images are relative to.
        provenance: what every line says of its origin.

    Attributes:
        batches: that are complete.

    Raises:
        FEAError: another process is writing it, or it was begun with other settings, or not by `fea data pairs`.
    """

    def __init__(self, file: Path, settings: dict[str, Any], image_root: Path, provenance: dict[str, Any]):
        self.file, self.image_root, self.provenance = file, image_root.resolve(), provenance
        check_place(file)
        self._lock = lock(file.with_name(f".{file.name}.lock"))
        if self._lock is None:
            raise FEAError(f"out: another process is writing '{file}'; wait for its end, or choose another name")
        root = os.path.relpath(self.image_root, file.parent.resolve())
        settings = json.loads(json.dumps({"command": _COMMAND, **settings, "images": root}))
        begun_with, entries = _read(file)
        if begun_with and begun_with != settings:
            self.close()
            raise FEAError(
                f"out: '{file}' was begun with other settings ({_differing(begun_with, settings)}); use the same, or choose "
                "another name"
            )
        self.entries = _whole(entries)
        self.batches = 1 + max((entry["batch"] for entry in self.entries), default=-1)
        if not begun_with:
            write_jsonl(_tried(file), [settings])
        keep_lines(_tried(file), 1 + len(self.entries))
        keep_lines(file, sum(entry["kept"] for entry in self.entries))

    def close(self) -> None:
        """Lets other processes write."""
        if self._lock:
            self._lock.close()

    def add(self, made: Sequence[Made]) -> None:
        """Appends a batch."""
        kept = [one for one in made if not one.why]
        lines = [self._line(one) for one in kept]
        entries = [{"batch": self.batches, "of": len(made), **_entry(one)} for one in made]
        append(self.file, lines)
        append(_tried(self.file), entries)
        self.entries += entries
        self.batches += 1

    def _line(self, made: Made) -> dict[str, Any]:
        example, chosen = made.example, made.chosen
        assert chosen is not None
        meta = json.loads(example.meta)
        other: dict[str, str] = {}
        if made.rejected:
            other["description"] = made.rejected.answer.text
        if made.other:
            other["image"] = self._relative(self._saved(made))
        if made.questions:
            other["question"] = made.questions[1]
        return {
            "id": example.id,
            "dataset": example.dataset,
            "image": self._relative(example.image),
            "question": made.questions[0] if made.questions else example.question,
            **known(example),
            "description": chosen.answer.text,
            "rejected": other,
            "meta_info": {
                **(meta if isinstance(meta, dict) else {"meta_info": meta}),
                "pair": {**self.provenance, **_origins(made)},
            },
        }

    def _saved(self, made: Made) -> str:
        """The path of the rejected image, which is written if it was drawn."""
        assert made.other is not None
        if not made.other.picture:
            return made.other.image
        unit = made.other.unit or 0
        name = f"{made.example.id}-{'with' if unit < 0 else 'without'}-AU{abs(unit)}.png"
        place = images_of(self.file) / name
        place.parent.mkdir(exist_ok=True)
        write_atomically(place, made.other.picture)
        return str(place)

    def _relative(self, image: str) -> str:
        return Path(os.path.relpath(Path(image).resolve(), self.image_root)).as_posix()

    def told(self) -> list[str]:
        """What was made, as sentences."""
        pairs = [entry for entry in self.entries if entry["kept"]]
        lines = [f"{len(pairs)} pairs of {len(self.entries)} faces: {self.file}"]
        for part in ("chosen", "rejected", "image", "question"):
            counts = Counter(entry[part] or "none" for entry in pairs)
            lines.append(f"  {part:<9} {', '.join(f'{name} {count}' for name, count in counts.most_common())}")
        if why := Counter(entry["why"] for entry in self.entries if not entry["kept"]):
            lines.append(f"  left out  {', '.join(f'{name} {count}' for name, count in why.most_common())}")
        return lines


def images_of(file: Path) -> Path:
    """The folder of the pictures that are drawn for the pairs of a file."""
    return file.with_suffix(".images")


def root_of(file: Path) -> Path:
    """The folder that the images of a file of pairs are relative to."""
    return Path(os.path.normpath(file.parent.resolve() / _read(file)[0]["images"]))


def _origins(made: Made) -> dict[str, str]:
    """By part of a pair, where it is from; "" for one that it does not have."""
    text, other = made.rejected, made.other
    return {
        "chosen": made.chosen.origin if made.chosen else "",
        "rejected": f"{'edited' if text.origin != 'own' else 'own'}, {text.fault}" if text else "",
        "image": other.how if other else "",
        "question": "named" if made.questions else "",
    }


def _entry(made: Made) -> dict[str, Any]:
    face = {"id": made.example.id, "place": made.example.place, "kept": not made.why, "why": made.why}
    return {**face, **_origins(made)}


def _tried(file: Path) -> Path:
    return file.with_name(file.name + _TRIED)


def _read(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The settings and the lines of what was tried; nothing of a file that is not there."""
    try:
        settings, *entries = whole_lines(_tried(file)) or [{}]
        fields = {"batch", "of", "kept"}
        if not isinstance(settings, dict) or (
            settings.get("command") == _COMMAND and not all(fields <= entry.keys() for entry in entries)
        ):
            raise ValueError("a line is none of these")
    except (ValueError, AttributeError) as error:
        raise FEAError(
            f"'{_tried(file)}' is damaged ({error}); remove it and '{file.name}', or choose another name"
        ) from None
    return settings, entries if settings.get("command") == _COMMAND else []


def _whole(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of batches of which all faces are there."""
    counts = Counter(entry["batch"] for entry in entries)
    return [entry for entry in entries if counts[entry["batch"]] == entry["of"]]


def _differing(begun_with: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    names = begun_with.keys() | settings.keys()
    return ", ".join(sorted(name for name in names if begun_with.get(name) != settings.get(name)))
