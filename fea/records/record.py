"""The rules of one line of a data file: FEA-20K JSON in, a validated flat record out.

Every refusal names the key, the value found and what to write instead; the reader of the file adds file and line.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fea.errors import FEAError
from fea.facs import emotion_name
from fea.prompts.answer import render
from fea.records.action_units import read_units, shown, unit
from fea.records.image_path import image_path
from fea.records.keys import KEYS, refuse_lost_labels
from fea.records.missing import missing, unknown
from fea.records.rejected import read_rejected

OnUnknownLabel = Literal["raise", "unknown"]

_TAG = re.compile(r"<\s?/?\s?(?:think|answer)", re.IGNORECASE)


class Record(NamedTuple):
    """A validated line, flat enough for a column store; `Example` adds what belongs to its file."""

    id: str
    dataset: str
    image: str
    question: str
    AUs: list[str] | None
    AUs_coded: list[str] | None
    labels: list[str]
    analysis: str | None
    AU_intensities: str
    valence: float | None
    arousal: float | None
    meta_info: str
    rejected: str | None
    line: int
    key: str


class Rules(NamedTuple):
    """How the lines of one file are to be read.

    Attributes:
        emotions: the allowed emotions.
        on_unknown_label: "raise", or treat a label outside `emotions` as "unknown".
        wrap: put a description without tags into a think block and its label into an answer block.
        image_root: folder that the images lie in, for those that are named by their full path; "" refuses these.
    """

    emotions: tuple[str, ...]
    on_unknown_label: OnUnknownLabel = "raise"
    wrap: bool = True
    image_root: str = ""

    def within(self, image_root: str | Path) -> Rules:
        """The same rules for a file whose images lie in a folder."""
        return self._replace(image_root=os.path.abspath(image_root))


def read_record(raw: Any, line: int, rules: Rules) -> Record | None:
    """Validates one JSON object of a data file.

    Args:
        raw: the parsed JSON.
        line: its 1-based line number; it becomes the id of a record without one.
        rules: how to read it.

    Returns:
        The record, or None if the file itself marks it as invalid (`"is_valid": false`).

    Raises:
        FEAError: naming the key and what is wrong with its value.
    """
    if not isinstance(raw, dict):
        raise FEAError(f"expected a JSON object with at least the key 'image', found {shown(raw)}")
    if raw.get("is_valid") is False:
        return None
    if not raw.keys() <= KEYS:
        refuse_lost_labels(raw, rules.emotions)
    labels = _labels(raw, rules)
    units = read_units(raw.get("AUs"), "AUs")
    coded = read_units(raw.get("AUs_coded"), "AUs_coded").present
    return Record(
        id=_identity(raw, line),
        dataset=_text(raw, "dataset"),
        image=image_path(raw, rules.image_root),
        question=_text(raw, "question"),
        AUs=units.present,
        AUs_coded=units.coded if coded is None else coded,
        labels=labels,
        analysis=_analysis(_text(raw, "description"), labels, rules.wrap),
        AU_intensities=_intensities(raw),
        valence=_score(raw, "valence"),
        arousal=_score(raw, "arousal"),
        meta_info=json.dumps(raw["meta_info"]) if raw.get("meta_info") else "{}",
        rejected=read_rejected(raw, rules.image_root),
        line=line,
        key=key_of(raw),
    )


def key_of(raw: Mapping[str, Any]) -> str:
    """The key by which a review knows a line: of its id, its description and what is rejected; rewritten it is judged anew.

    Args:
        raw: the line as it stands in its file.
    """
    identity, description = raw.get("id"), raw.get("description")
    text = f"{'' if identity is None else identity}\0{description or ''}"
    if raw.get("rejected"):
        text += f"\0{json.dumps(raw['rejected'], sort_keys=True)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _text(raw: dict[str, Any], key: str) -> str:
    value = raw.get(key)
    if missing(value):
        return ""
    if not isinstance(value, str):
        raise FEAError(f"key '{key}': expected text, found {shown(value)}")
    return value


def _identity(raw: dict[str, Any], line: int) -> str:
    value = raw.get("id")
    return str(line) if value is None or value == "" or value != value else str(value)


def _labels(raw: dict[str, Any], rules: Rules) -> list[str]:
    words = given_labels(raw)
    names = [_label(word, rules.emotions) for word in words]
    known = [name for name in dict.fromkeys(names) if name in rules.emotions]
    if rules.on_unknown_label == "raise":
        for word, name in zip(words, names, strict=True):
            if name not in known and not unknown(word):
                raise FEAError(
                    f"key 'labels': unknown emotion {shown(word)}; allowed are {', '.join(rules.emotions)} (change 'emotions', "
                    "or set 'on_unknown_label: unknown')"
                )
    return known


def given_labels(raw: Mapping[str, Any]) -> list[str]:
    """The words that a line gives as its labels, whatever they mean.

    Raises:
        FEAError: they are no words.
    """
    value = raw.get("labels")
    items = value if isinstance(value, list) else [value]
    words = [item for item in items if item is not None and item == item]
    if not all(isinstance(word, str) for word in words):
        raise FEAError(f"key 'labels': expected a list of emotions, found {shown(value)}; write their names")
    return words


@lru_cache(maxsize=4096)
def _label(item: str, emotions: tuple[str, ...]) -> str:
    return emotion_name(item, emotions)


def _analysis(description: str, labels: list[str], wrap: bool) -> str | None:
    """The target text; a description without tags is wrapped, which needs a label."""
    if not description.strip():
        return None
    if not wrap or has_tags(description):
        return description
    return render(description.strip(), labels[0]) if labels else None


def has_tags(text: str) -> bool:
    """Whether a text has the tags of an analysis, or was meant to: "<THINK>", "</ answer >"."""
    return _TAG.search(text) is not None


def _intensities(raw: dict[str, Any]) -> str:
    value = raw.get("AU_intensities")
    if not value or missing(value):
        return "{}"
    if not isinstance(value, dict):
        raise FEAError(f"key 'AU_intensities': expected an object such as {{\"AU12\": 3}}, found {shown(value)}")
    grades: dict[str, float] = {}
    for name, grade in value.items():
        code = unit(name, "AU_intensities")
        if isinstance(grade, int | float) and not isinstance(grade, bool) and 0 <= grade <= 5:
            grades[code] = grade
        elif not missing(grade):
            raise FEAError(f"key 'AU_intensities': {code} is graded {shown(grade)}; grades go from 0 to 5")
    return json.dumps(grades)


def _score(raw: dict[str, Any], key: str) -> float | None:
    value = raw.get(key)
    if missing(value):
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not -1 <= value <= 1:
        raise FEAError(f"key '{key}': expected a number from -1 to 1, or null for unknown, found {shown(value)}")
    return float(value)
