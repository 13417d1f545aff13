"""What a synthesis has tried: a line for every face, in a file beside that of the accepted lines.

Both files are read with care, since they lie open for weeks: what was deleted, moved or edited by hand is one sentence, and
nothing is written over it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fea.errors import FEAError
from fea.synthesis.checks import Reason

_TRIED = ".tried"  # ends the name of the file with a line for every face


class Tried(NamedTuple):
    """A face that was tried. The fields, in their order, are those of its line.

    Attributes:
        batch: number of its batch.
        of: faces in the batch.
        id: of the face.
        place: file and line of the face.
        dataset: that the face comes from.
        accepted: whether its analysis joined the set.
        attempts: that were made; 0 if it was left out before.
        revealed: whether the accepted analysis had seen the labels.
        labels: accepted emotions that it was judged by.
        units: FACS numbers that it was judged by.
        reasons: of the rejection of each attempt, in their order; last, why it was left out.
        round: of the synthesis.
        seed: of the synthesis.
        base: name of the model.
        model: fingerprint of its trained weights.
        prompt: version of the prompt.
    """

    batch: int
    of: int
    id: str
    place: str
    dataset: str
    accepted: bool
    attempts: int
    revealed: bool
    labels: Sequence[str]
    units: Sequence[int]
    reasons: Sequence[Sequence[Reason]]
    round: int
    seed: int
    base: str
    model: str
    prompt: str

    @property
    def refused(self) -> Reason | None:
        """What was wrong in the end, or None if the face has an analysis."""
        return None if self.accepted else self.reasons[-1][0]


_KINDS: dict[str, type] = {
    **dict.fromkeys(("batch", "of", "attempts", "round", "seed"), int),
    **dict.fromkeys(("id", "place", "dataset", "base", "model", "prompt"), str),
    **dict.fromkeys(("accepted", "revealed"), bool),
    **dict.fromkeys(("labels", "units", "reasons"), list),
}
_OF_LISTS: dict[str, type] = {"labels": str, "units": int, "reasons": list}


def tried_of(file: Path) -> Path:
    """The file with a line for every face that was tried, beside one with accepted lines."""
    return file.with_name(f"{file.name}{_TRIED}")


def written_into(folder: Path) -> list[Path]:
    """The files with accepted lines in a folder, by their names; other files are passed over, those of other commands, too."""
    files = [tried.with_name(tried.name.removesuffix(_TRIED)) for tried in sorted(folder.glob(f"*{_TRIED}"))]
    return [file for file in files if not command_of(file)]


def command_of(file: Path) -> str:
    """The command that a file of what was tried names in its first line; "" for a synthesis, which names none."""
    if not tried_of(file).is_file():
        return ""
    with tried_of(file).open("rb") as stream:
        first = stream.readline()
    try:
        settings = json.loads(first)
    except (ValueError, RecursionError):
        return ""  # damaged: whoever reads all of it says so
    return str(settings.get("command") or "") if isinstance(settings, dict) else ""


def read_tried(file: Path) -> tuple[dict[str, Any], list[Tried]]:
    """What a synthesis has tried so far.

    Args:
        file: with the accepted lines.

    Returns:
        What decides the outcome, as plain values, and the faces that were tried, in their order; both empty before it began.

    Raises:
        FEAError: a line was not written by a synthesis, or one is missing.
    """
    if not tried_of(file).exists():
        return {}, []
    settings, *others = _values(file, tried_of(file)) or [None]
    if not isinstance(settings, dict) or not isinstance(settings.get("images"), str):
        raise _foreign(file, tried_of(file), 1, "it holds no settings")
    entries = [_entry(file, number, value) for number, value in enumerate(others, 2)]
    sizes, numbers = Counter(entry.batch for entry in entries), [entry.batch for entry in entries]
    last = numbers[-1] if numbers else -1
    lacking = [entry.batch for entry in entries if entry.batch < last and sizes[entry.batch] != entry.of]
    if lacking or numbers != sorted(numbers) or set(numbers) != set(range(last + 1)):
        raise FEAError(
            f"'{tried_of(file)}' lacks lines of a batch, so it was changed by hand; put them back, or take it and "
            f"'{file.name}' out of the folder"
        )
    return settings, entries


def of_whole_batches(entries: Sequence[Tried]) -> list[Tried]:
    """The faces without those of a batch that a kill cut short."""
    sizes = Counter(entry.batch for entry in entries)
    return [entry for entry in entries if sizes[entry.batch] == entry.of]


def accepted_lines(file: Path, entries: Sequence[Tried]) -> list[dict[str, Any]]:
    """The lines that belong to accepted faces; those of a batch that a kill cut short may follow them.

    Args:
        file: with the accepted lines.
        entries: the faces that were tried.

    Raises:
        FEAError: a line is missing, or was not written by a synthesis.
    """
    lines, ids = _values(file, file), [entry.id for entry in entries if entry.accepted]
    for number, line in enumerate(lines, 1):
        meta = line.get("meta_info") if isinstance(line, dict) else None
        if not isinstance(meta, dict) or "synthesis" not in meta or not isinstance(line.get("description"), str):
            raise _foreign(file, file, number, "it says nothing of its origin")
    if [line.get("id") for line in lines[: len(ids)]] != ids:
        raise FEAError(
            f"'{file}' does not hold the {len(ids)} lines that '{tried_of(file).name}' tells of, so it was changed by hand or "
            "moved; put them back, or take both out of the folder"
        )
    return lines[: len(ids)]


def images_of(file: Path) -> Path:
    """The image root of a file with accepted lines."""
    return (file.parent / str(read_tried(file)[0]["images"])).resolve()


def _entry(file: Path, number: int, value: Any) -> Tried:
    try:
        entry = Tried(**value)
    except TypeError as error:
        raise _foreign(file, tried_of(file), number, str(error)) from None
    for name, kind in _KINDS.items():
        parts = value[name] if type(value[name]) is list else []
        if type(value[name]) is not kind or not all(type(part) is _OF_LISTS[name] for part in parts):
            raise _foreign(file, tried_of(file), number, f"'{name}' is {json.dumps(value[name])}")
    if not entry.accepted and not (entry.reasons and entry.reasons[-1]):
        raise _foreign(file, tried_of(file), number, "it gives no reason")
    return entry


def _values(file: Path, read: Path) -> list[Any]:
    """The values of a file; a last line that was being written is left out. A file that is not there has none."""
    values = []
    for number, line in enumerate(read.read_bytes().split(b"\n")[:-1] if read.exists() else [], 1):
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise _foreign(file, read, number, str(error)) from None
    return values


def _foreign(file: Path, read: Path, number: int, reason: str) -> FEAError:
    other = (file if read != file else tried_of(file)).name
    where = f"line {number}: {reason}"
    return FEAError(
        f"'{read}' holds a line that no synthesis of this release wrote ({where}); take it and '{other}' out of the folder"
    )
