"""Answers of any model, as they lie in files: JSON lines with texts, JSON lines or tables with labels, tables of peers.

{"id": "1", "text": "<think>..."}            or "answer", "output", "response", "prediction", ...
{"image": "a.jpg", "AUs": ["AU6"], "emotion": "happiness", "valence": 0.4}
image,emotion,AU06,AU12                      any table that `fea data convert` reads, and one of ids and texts
OpenFace, Py-Feat, LibreFace                 by their own columns
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fea.datasets import csv_table, libreface, openface, py_feat
from fea.datasets.conversion import Dropped, Face, Source
from fea.datasets.json_files import objects_of
from fea.datasets.reading import Table
from fea.errors import FEAError
from fea.facs import au_number
from fea.prompts.answer import FORMS, Form
from fea.prompts.numbers import Numbers
from fea.records.action_units import read_units

_IDS = ("id", "question_id", "sample_id", "example_id", "uid")
_IMAGES = ("image", "image_path", "image_file", "filename", "file", "path", "input_media", "input")
_TEXTS = (
    *("text", "answer", "output", "response", "prediction", "predict", "completion", "generated_text", "model_output"),
    *("filtered_resps", "resps"),
)
_UNITS = ("AUs", "aus", "au", "action_units")
_EMOTIONS = ("emotion", "expression", "facial_expression", "predicted_emotion", "pred_emotion")
_PEERS = (openface.FORMAT, py_feat.FORMAT, libreface.FORMAT)


class Said(NamedTuple):
    """What a file says of one face.

    Attributes:
        id: of the face; "" if it names none.
        image: of the face; "" if it names none.
        place: file and line, for messages.
        text: that was written; None where labels stand in its place.
        aus: FACS numbers that are claimed; None if the file does not speak of units.
        spoken: FACS numbers that the file speaks of; None for all.
        emotion: that is named; None for none.
        emotions: whether the file speaks of emotions.
        grades: intensities by FACS number.
        valence: in [-1, 1], or None.
        arousal: likewise.
        votes: share of sampled answers that agree, or None.
        form: that the text was to have.
        numbers: that it was to tell.
    """

    id: str
    image: str
    place: str
    text: str | None = None
    aus: frozenset[int] | None = None
    spoken: frozenset[int] | None = None
    emotion: str | None = None
    emotions: bool = True
    grades: Mapping[int, float] = {}
    valence: float | None = None
    arousal: float | None = None
    votes: float | None = None
    form: Form = "after_thinking"
    numbers: Numbers = ()


class Unread(NamedTuple):
    """A line that no answer can be taken from: why, and where."""

    reason: str
    place: str


def said_in(file: Path, source: Source) -> Iterator[Said | Unread]:
    """The answers of a file.

    Args:
        file: of any of the kinds above.
        source: how a table is to be read: its threshold, the names of its columns, its classes.

    Raises:
        FEAError: it is not there, or of no such kind.
    """
    if not file.is_file():
        raise FEAError(
            f"'{file}' {'is no file' if file.exists() else 'does not exist'}; give the file with the answers"
        )
    if file.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        yield from (_of_object(value, f"{file}:{number}") for number, value in objects_of(file))
        return
    peer = next((peer for peer in _PEERS if peer.recognizes(file)), None)
    source = source._replace(path=file, absent=True)
    if peer:
        yield from _of_faces(peer.faces(source), ids=False)
        return
    table = Table(file)
    named, imaged, text = (table.column(*names) for names in (_IDS, _IMAGES, _TEXTS))
    if text and (named or imaged):
        yield from (_of_row(row, f"row {number} of '{file}'") for number, row in table)
        return
    if named and not imaged and "image" not in source.columns:
        source = source._replace(columns={**source.columns, "image": named})
    yield from _of_faces(csv_table.FORMAT.faces(source), ids=named is not None)


def _of_row(row: Mapping[str, str] | None, place: str) -> Said | Unread:
    return Unread("the row does not fit the columns", place) if row is None else _of_object(dict(row), place)


def _of_object(value: Any, place: str) -> Said | Unread:
    if not isinstance(value, dict):
        return Unread("the line is no JSON object", place)
    by_name = {str(key).lower(): found for key, found in value.items()}
    first: Callable[[Sequence[str]], Any] = lambda names: next(  # noqa: E731
        (by_name[name.lower()] for name in names if by_name.get(name.lower()) is not None), None
    )
    identity, image, text = first(_IDS), first(_IMAGES), _text(first(_TEXTS))
    image = image[0] if isinstance(image, list) and len(image) == 1 else image
    if identity is None and not isinstance(image, str):
        return Unread("the line names neither an id nor an image", place)
    labeled = any(name.lower() in by_name for name in (*_UNITS, *_EMOTIONS))
    if text is None and not labeled:
        return Unread(f"the line has neither a text ({', '.join(_TEXTS[:4])}, ...) nor AUs nor an emotion", place)
    said = Said("" if identity is None else str(identity), image if isinstance(image, str) else "", place)
    try:
        valence, arousal, votes = (_number(by_name.get(key)) for key in ("valence", "arousal", "votes"))
        said = said._replace(valence=valence, arousal=arousal, votes=votes)
        if text or not labeled:
            form = next((form for form in FORMS if form == by_name.get("form")), said.form)
            return said._replace(text=text or "", form=form)
        units = read_units(first(_UNITS), "AUs")
        grades = by_name.get("intensities") or by_name.get("au_intensities") or {}
        return said._replace(
            aus=None if units.present is None else frozenset(map(au_number, units.present)),
            spoken=None if units.coded is None else frozenset(map(au_number, units.coded)),
            emotion=None if first(_EMOTIONS) is None else str(first(_EMOTIONS)),
            emotions=any(name in by_name for name in _EMOTIONS),
            grades={au_number(code): float(grade) for code, grade in grades.items()},
        )
    except (FEAError, TypeError, ValueError, AttributeError) as error:
        return Unread("the labels of the line cannot be read", f"{place} ({error})")


def _text(value: Any) -> str | None:
    """A text, or the first of a list of texts, as harnesses write them."""
    while isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return None if value is None or value == "" else float(value)


def _of_faces(faces: Iterator[Face | Dropped], ids: bool) -> Iterator[Said | Unread]:
    for face in faces:
        if isinstance(face, Dropped):
            yield Unread(face.reason, face.place)
            continue
        units, grades = face.AUs, {au_number(code): grade for code, grade in face.intensities.items()}
        yield Said(
            id=face.id if ids else "",
            image=face.image if isinstance(face.image, str) else "",
            place=str(face.image),
            aus=None if units is None else frozenset(map(au_number, units)),
            spoken=None if face.AUs_coded is None else frozenset(map(au_number, face.AUs_coded)),
            emotion=face.labels[0] if face.labels else None,
            emotions=bool(face.labels),
            grades=grades,
            valence=face.valence,
            arousal=face.arousal,
        )
