"""The rules of one line of a data file: FEA-20K JSON in, a validated flat record out.

Every refusal names the key, the value found and what to write instead; the reader of the file adds file and line.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from fea.errors import FEAError
from fea.facs import au_code, emotion_name
from fea.prompts.answer import render

OnUnknownLabel = Literal["raise", "unknown"]


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
    line: int
    key: str


class Rules(NamedTuple):
    """How the lines of one file are to be read.

    Attributes:
        emotions: the allowed emotions.
        on_unknown_label: "raise", or treat a label outside `emotions` as "unknown".
        wrap: put a description without tags into a think block and its label into an answer block.
    """

    emotions: tuple[str, ...]
    on_unknown_label: OnUnknownLabel = "raise"
    wrap: bool = True


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
        raise FEAError(f"expected a JSON object with at least the key 'image', found {_shown(raw)}")
    if raw.get("is_valid") is False:
        return None
    labels = _labels(raw, rules)
    return Record(
        id=_identity(raw, line),
        dataset=_text(raw, "dataset"),
        image=_image(raw),
        question=_text(raw, "question"),
        AUs=_codes(raw, "AUs"),
        AUs_coded=_codes(raw, "AUs_coded"),
        labels=labels,
        analysis=_analysis(_text(raw, "description"), labels, rules.wrap),
        AU_intensities=_intensities(raw),
        valence=_score(raw, "valence"),
        arousal=_score(raw, "arousal"),
        meta_info=json.dumps(raw["meta_info"]) if raw.get("meta_info") else "{}",
        line=line,
        key=key_of(raw),
    )


def key_of(raw: Mapping[str, Any]) -> str:
    """The key by which a review knows a line: of its id and its description, so a rewritten line is judged anew.

    Args:
        raw: the line as it stands in its file.
    """
    identity, description = raw.get("id"), raw.get("description")
    text = f"{'' if identity is None else identity}\0{description or ''}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def _text(raw: dict[str, Any], key: str) -> str:
    value = raw.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FEAError(f"key '{key}': expected text, found {_shown(value)}")
    return value


def _identity(raw: dict[str, Any], line: int) -> str:
    value = raw.get("id")
    return str(line) if value is None or value == "" else str(value)


def _image(raw: dict[str, Any]) -> str:
    image = raw.get("image")
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    if not isinstance(image, str) or not image:
        raise FEAError(f"key 'image': expected the path of one image, found {_shown(image)}")
    path = posixpath.normpath(image.replace("\\", "/"))
    if path.startswith(("/", "../")) or path == ".." or path[1:2] == ":":
        raise FEAError(f"key 'image': {_shown(image)} leaves the image root; give a path relative to it, without '..'")
    return path


@lru_cache(maxsize=4096)
def _code(text: str) -> str | None:
    return au_code(text)


def _codes(raw: dict[str, Any], key: str) -> list[str] | None:
    value = raw.get(key)
    if value is None:
        return None
    if not isinstance(value, list):
        raise FEAError(f'key \'{key}\': expected a list such as ["AU6", "AU12"], found {_shown(value)}')
    return [_known_code(item, key) for item in value]


def _known_code(item: Any, key: str) -> str:
    code = _code(str(item))
    if code is None:
        raise FEAError(
            f'key \'{key}\': {_shown(item)} is no Action Unit; write "AU12", or "AUL12" for the person\'s left side'
        )
    return code


def _labels(raw: dict[str, Any], rules: Rules) -> list[str]:
    value = raw.get("labels")
    items = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise FEAError(f"key 'labels': expected a list of emotions, found {_shown(value)}")
    names = [_label(item, rules.emotions) for item in items]
    unknown = [item for item, name in zip(items, names, strict=True) if name not in rules.emotions]
    if unknown and rules.on_unknown_label == "raise":
        allowed = ", ".join(rules.emotions)
        raise FEAError(
            f"key 'labels': unknown emotion {_shown(unknown[0])}; allowed are {allowed} (change 'emotions', or set "
            "'on_unknown_label: unknown')"
        )
    return [name for name in dict.fromkeys(names) if name in rules.emotions]


@lru_cache(maxsize=4096)
def _label(item: str, emotions: tuple[str, ...]) -> str:
    return emotion_name(item, emotions)


def _analysis(description: str, labels: list[str], wrap: bool) -> str | None:
    """The target text; a description without tags is wrapped, which needs a label."""
    if not description.strip():
        return None
    if not wrap or "<think>" in description or "<answer>" in description:
        return description
    return render(description.strip(), labels[0]) if labels else None


def _intensities(raw: dict[str, Any]) -> str:
    value = raw.get("AU_intensities")
    if not value:
        return "{}"
    if not isinstance(value, dict):
        raise FEAError(f"key 'AU_intensities': expected an object such as {{\"AU12\": 3}}, found {_shown(value)}")
    grades = {_known_code(code, "AU_intensities"): grade for code, grade in value.items()}
    for code, grade in grades.items():
        if not isinstance(grade, int | float) or isinstance(grade, bool) or not 0 <= grade <= 5:
            raise FEAError(f"key 'AU_intensities': {code} is graded {_shown(grade)}; grades go from 0 to 5")
    return json.dumps(grades)


def _score(raw: dict[str, Any], key: str) -> float | None:
    value = raw.get(key)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not -1 <= value <= 1:
        raise FEAError(f"key '{key}': expected a number from -1 to 1, or null for unknown, found {_shown(value)}")
    return float(value)
