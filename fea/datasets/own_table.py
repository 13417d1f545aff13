"""Tables of one's own: which column is what, found by its name, and what a row of it says.

image,emotion,AU01,AU06,AU12,subject      a column for each unit: 0 and 1, grades from 0 to 5, or probabilities
image;label;AUs                           or all units in one column: "1+L2+4", "AU6, AU12"
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from fea.datasets.class_folders import split_of
from fea.datasets.conversion import Coding, Dropped, Face, Source, by_number, coding
from fea.datasets.images import NOT_THERE, Images
from fea.datasets.reading import code, grade, listed, number
from fea.errors import FEAError
from fea.facs import au_code, emotion_name
from fea.records.action_units import read_units
from fea.records.missing import unknown

# What people call a column, in lower case and without blanks, underscores and hyphens.
NAMES: dict[str, tuple[str, ...]] = {
    key: tuple(names.split())
    for key, names in {
        "image": "image images imagepath imagefile imagename img imgpath imgname filename filepath file path picture photo",
        "labels": "labels label emotion emotions emotionlabel expression facialexpression expressionlabel class category",
        "AUs": "aus au actionunits actionunit aulabels aulist",
        "AUs_coded": "auscoded aucoded codedaus",
        "id": "id",
        "dataset": "dataset",
        "subject": "subject subjectid person personid identity participant participantid",
        "fold": "fold",
        "split": "split usage partition subset set",
        "valence": "valence",
        "arousal": "arousal",
        "question": "question",
        "description": "description analysis",
    }.items()
}
PRESENT = 2.0  # grade from which on a unit shows, as in published protocols
_UNIT = re.compile(r"AU[\s_-]?([LR]?)0*(\d{1,2})([LR]?)(_r|_c|_intensity|_presence)?", re.IGNORECASE)
_BETWEEN = re.compile(r"[;|,+/]")
Kind = Literal["flags", "grades", "odds"]


class Columns:
    """Which columns a table has, and how to read a row.

    Args:
        place: what the table is called in a message.
        names: its columns.
        source: with the user's own names of them.
        classes: what the numbers of the emotion column mean, where the table itself says so.

    Raises:
        FEAError: it has no images or nothing to learn, or the user names a column that is not there.
    """

    def __init__(self, place: str, names: Sequence[str], source: Source, classes: Sequence[str] = ()):
        self.place, self.source, self.classes = place, source, tuple(source.classes or classes)
        self.images = Images(source.images)
        self.of = _columns(place, names, source.columns)
        taken = set(self.of.values())
        units = [(name, match) for name in names if name not in taken and (match := _UNIT.fullmatch(name.strip()))]
        self.flags = {n: _unit(m) for n, m in units if (m[4] or "").lower() in ("", "_c", "_presence")}
        self.grades = {n: _unit(m) for n, m in units if (m[4] or "").lower() in ("_r", "_intensity")}
        self.flags = {name: unit for name, unit in self.flags.items() if unit}
        self.grades = {name: unit for name, unit in self.grades.items() if unit}
        have = listed(names)
        if "image" not in self.of:
            raise FEAError(
                f"'{place}' has no column of images; its columns are {have}: say which it is, --columns '{{image: NAME}}'"
            )
        if not self.flags and not self.grades and not self.of.keys() & {"labels", "AUs", "valence", "description"}:
            raise FEAError(
                f"'{place}' has neither emotions nor Action Units; its columns are {have}: say which they are, --columns "
                "'{labels: NAME, AUs: NAME}'"
            )
        self.kind: Kind = "flags"
        source.note(f"columns: {self._understood(names)}")

    def _understood(self, names: Sequence[str]) -> str:
        """Which column is taken for what, and which are not read."""
        units = {*self.flags.values(), *self.grades.values()}
        read = [f"{key}={column}" for key, column in self.of.items()] + [f"{len(units)} units"] * bool(units)
        rest = [name for name in names if name not in {*self.of.values(), *self.flags, *self.grades}]
        return f"{', '.join(read)}; not read: {listed(rest) or 'none'}"

    def look(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Finds out from all rows whether columns such as AU12 hold 0 and 1, grades or probabilities.

        Raises:
            FEAError: they hold probabilities, and no threshold is given.
        """
        most, between = 0.0, False
        for row in rows:
            for column in self.flags:
                value = _tried(row[column])
                if value is not None and value not in (0, 1):
                    most, between = max(most, value), between or value < 1
        if most > 1:
            self.kind = "grades"
        elif between:
            self.kind = "odds"
        if self.kind == "odds" and self.source.threshold is None:
            raise FEAError(
                f"'{self.place}': columns such as '{next(iter(self.flags))}' hold fractions; say from which value on a unit "
                "shows: --threshold 0.5"
            )
        if self._by_grade:
            self.source.note(f"a unit shows from {self.threshold:g} on (meta_info.threshold)")

    @property
    def threshold(self) -> float:
        """From which value on a unit shows."""
        return PRESENT if self.source.threshold is None else self.source.threshold

    @property
    def _by_grade(self) -> bool:
        return self.kind != "flags" or (bool(self.grades) and (self.source.threshold is not None or not self.flags))

    def face(self, line: int, row: Mapping[str, Any]) -> Face | Dropped:
        """What a row says.

        Args:
            line: its number, from 1.
            row: value by column.

        Raises:
            FEAError: the emotions are numbers that nobody has given names.
        """
        place = f"row {line} of '{self.place}'"
        try:
            labels, units = self._labels(row), self._units(row)
        except ValueError as error:
            if isinstance(error, _Unnamed):
                raise
            return Dropped(str(error), place)
        image = self._image(row)
        if image is None:
            return Dropped(NOT_THERE, f"'{self._text(row, 'image')}', {place}")
        stray = self._stray(row, labels)
        valence, arousal = (_score(self._text(row, key)) for key in ("valence", "arousal"))
        description = self._text(row, "description")
        if not labels and units.present is None and valence is None and arousal is None and not description:
            return Dropped(f"'{stray}' is none of the emotions" if stray else "nothing is known of the face", place)
        if stray:
            self.source.note(f"words that are none of the emotions count as unknown, such as '{stray}' in {place}")
        return Face(
            id=self._text(row, "id") or f"{line:06d}",
            image=image,
            labels=labels,
            AUs=units.present,
            AUs_coded=units.coded,
            intensities=units.grades,
            valence=valence,
            arousal=arousal,
            meta=self._meta(row),
            question=self._text(row, "question"),
            description=description,
            dataset=self._text(row, "dataset") or None,
        )

    def _image(self, row: Mapping[str, Any]) -> str | bytes | None:
        value = row[self.of["image"]]
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value
        return self.images.find(_text(value)) or (_text(value) if self.source.absent else None)

    def _labels(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        value = row[self.of["labels"]] if "labels" in self.of else None
        items = value if isinstance(value, list | tuple) else _BETWEEN.split(_text(value))
        words = (emotion_name(self._word(_text(item)), self.source.emotions) for item in items)
        return tuple(dict.fromkeys(word for word in words if word in self.source.emotions))

    def _word(self, text: str) -> str:
        """A word for a number."""
        number_of = code(text)
        if number_of is None or number_of < 0 or number_of in (99, 999):
            return "" if number_of is not None else text
        if not self.classes:
            raise _Unnamed(
                f"'{self.place}': column '{self.of['labels']}' holds numbers; say what 0, 1, 2, ... mean, in this order: "
                "--classes '[anger, disgust, ...]'"
            )
        return self.classes[number_of] if number_of < len(self.classes) else ""

    def _stray(self, row: Mapping[str, Any], labels: tuple[str, ...]) -> str:
        """A label that is none of the emotions and not unknown either."""
        text = self._text(row, "labels")
        return "" if labels or unknown(text) else text[:40]

    def _units(self, row: Mapping[str, Any]) -> Coding:
        graded = {unit: grade(_text(row[column])) for column, unit in self.grades.items()}
        flags = {unit: _value(row[column]) for column, unit in self.flags.items()}
        if self.kind == "grades":
            graded |= {unit: grade(_text(row[column])) for column, unit in self.flags.items()}
        strengths = coding(graded, self.threshold)
        shows = {unit: value >= 1 for unit, value in flags.items() if value is not None}
        if self.kind == "odds":
            shows = {unit: value >= self.threshold for unit, value in flags.items() if value is not None}
        elif self._by_grade:
            shows |= {unit: unit in (strengths.present or ()) for unit in strengths.coded or ()}
        if shows:
            present = by_number(unit for unit, on in shows.items() if on)
            return Coding(present, by_number(shows), strengths.grades)
        listed = read_units(row[self.of["AUs"]] if "AUs" in self.of else None, self.of.get("AUs", ""))
        coded = read_units(row[self.of["AUs_coded"]], "AUs_coded").present if "AUs_coded" in self.of else listed.coded
        present_list = None if listed.present is None else by_number(listed.present)
        return Coding(present_list, None if coded is None else by_number(coded), strengths.grades)

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        split, fold = self._text(row, "split"), self._text(row, "fold")
        known = {
            "subject": self._text(row, "subject"),
            "fold": code(fold) if code(fold) is not None else fold,
            "split": split_of(split) or split,
            "threshold": self.threshold if self._by_grade else "",
        }
        return {key: value for key, value in known.items() if value != ""}

    def _text(self, row: Mapping[str, Any], key: str) -> str:
        return _text(row[self.of[key]]) if key in self.of else ""


class _Unnamed(FEAError):
    """Numbers for emotions, without names: no row of the table can be read."""


def _columns(place: str, names: Sequence[str], own: Mapping[str, str]) -> dict[str, str]:
    """Key of a line to the column that holds it."""
    for key, column in own.items():
        if key not in NAMES:
            raise FEAError(f"columns: '{key}' is none of {', '.join(NAMES)}")
        if column not in names:
            raise FEAError(f"columns: '{place}' has no column '{column}'; its columns are {listed(names)}")
    by_name: dict[str, str] = {}
    for name in names:
        by_name.setdefault(re.sub(r"[\s_-]", "", name).lower(), name)
    found = {key: next((by_name[name] for name in called if name in by_name), None) for key, called in NAMES.items()}
    return {**{key: column for key, column in found.items() if column}, **own}


def _unit(match: re.Match[str]) -> str:
    return au_code(f"AU{match[1] or match[3]}{match[2]}") or ""


def _text(value: Any) -> str:
    """A value of a table as the text that it would be in a CSV."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    text = str(value).strip()
    return "" if text.lower() in ("nan", "none", "null") else text


def _value(value: Any) -> float | None:
    """The value of a unit; "true" and "false" are read, too."""
    return _value_of(value if isinstance(value, str) else _text(value))


@lru_cache(maxsize=4096)  # of a million cells, nearly all are the same few
def _value_of(text: str) -> float | None:
    plain = _text(text)
    return grade({"true": "1", "false": "0", "yes": "1", "no": "0"}.get(plain.lower(), plain))


def _tried(value: Any) -> float | None:
    """The same where it can be read; whoever reads the row says what it is else."""
    try:
        return _value(value)
    except ValueError:
        return None


def _score(text: str) -> float | None:
    try:
        value = number(text)
    except ValueError:
        return None
    return value if value is not None and -1 <= value <= 1 else None
