"""What a converter is given and what it gives: the files of a data set in, one face after the other out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from fea.facs import EMOTION_SETS, au_number

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Face(NamedTuple):
    """One face and what its data set says of it.

    Attributes:
        id: of its own within the data set.
        image: the full path of its file, or the bytes of an image that stands within a table.
        labels: canonical names of emotions; () for an unknown one.
        AUs: codes of the units that show; None where nobody looked.
        AUs_coded: codes of the units that were looked for; None where that is not said.
        intensities: code to grade, 0 to 5.
        valence: -1 to 1; None for unknown.
        arousal: the same.
        meta: "subject", "fold", "split", "source", "threshold" and what else is known.
        question: that the description answers; "" for the usual one.
        description: an analysis; "" for none.
        dataset: its name, where it is not that of the converter.
    """

    id: str
    image: str | bytes
    labels: tuple[str, ...] = ()
    AUs: tuple[str, ...] | None = None
    AUs_coded: tuple[str, ...] | None = None
    intensities: Mapping[str, float] = _NOTHING
    valence: float | None = None
    arousal: float | None = None
    meta: Mapping[str, Any] = _NOTHING
    question: str = ""
    description: str = ""
    dataset: str | None = None


class Dropped(NamedTuple):
    """Rows that become no face.

    Attributes:
        reason: the same words for all rows that have it.
        place: the row, for whoever looks it up.
        rows: how many.
    """

    reason: str
    place: str
    rows: int = 1


class Source(NamedTuple):
    """What a user points to, and how it is to be read.

    Attributes:
        path: the file or the folder; of a data set on the hub, its name.
        images: folder that the images are looked for in.
        threshold: from which intensity or probability on a unit shows; None for the converter's own.
        second_file: the second file of a data set that has two.
        columns: key of a line to the column that holds it, for tables with names of their own.
        classes: what the numbers 0, 1, 2, ... of an emotion column mean.
        emotions: the words that are labels.
        absent: take faces whose image is not there as well, by the name that it is given.
        notes: what the converter says of the whole; it adds to this list.
    """

    path: Path
    images: Path
    threshold: float | None = None
    second_file: Path | None = None
    columns: Mapping[str, str] = _NOTHING
    classes: tuple[str, ...] = ()
    emotions: tuple[str, ...] = EMOTION_SETS["basic8"]
    absent: bool = False
    notes: list[str] = []  # noqa: RUF012 - each is made with a list of its own

    def note(self, text: str) -> None:
        """Says something once."""
        if text not in self.notes:
            self.notes.append(text)


Faces = Iterator[Face | Dropped]


class Format(NamedTuple):
    """A way in.

    Attributes:
        name: that is typed.
        told: what it is called in a sentence: "RAF-DB", "an OpenFace table".
        faces: reads a source.
        recognizes: whether a file or a folder is of this format; it looks at names and at the first lines.
        dataset: the value of the key "dataset"; "" for the user's own data.
    """

    name: str
    told: str
    faces: Callable[[Source], Faces]
    recognizes: Callable[[Path], bool]
    dataset: str = ""


def codes(numbers: Iterable[int]) -> tuple[str, ...]:
    """Codes of units by their FACS numbers: ("AU1", "AU12")."""
    return tuple(f"AU{number}" for number in sorted(numbers))


def by_number(units: Iterable[str]) -> tuple[str, ...]:
    """Codes in the order of their numbers, each once; sides come after the unit itself."""
    return tuple(sorted(set(units), key=lambda code: (au_number(code), code)))


class Coding(NamedTuple):
    """Graded units as the three keys of a line: which show, which were looked for, and how strongly."""

    present: tuple[str, ...] | None
    coded: tuple[str, ...] | None
    grades: Mapping[str, float]


def coding(grades: Mapping[str, float | None], threshold: float) -> Coding:
    """What grades say.

    Args:
        grades: code to grade; None for a unit of which the grade is unknown, which was then not looked for.
        threshold: from which grade on a unit shows.
    """
    known = {code: plain(grade) for code, grade in grades.items() if grade is not None}
    if not known:
        return Coding(None, None, _NOTHING)
    shown = (code for code, grade in known.items() if grade >= threshold)
    return Coding(by_number(shown), by_number(known), {code: known[code] for code in by_number(known)})


def plain(value: float) -> float:
    """A number without a fraction that says nothing: 3 for 3.0."""
    return int(value) if value == int(value) else value
