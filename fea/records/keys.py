"""The keys of a line, and which of them somebody meant who wrote another one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fea.errors import FEAError
from fea.facs import emotion_name
from fea.records.action_units import column_of
from fea.records.missing import unknown

KEYS = frozenset(
    (
        *("id", "dataset", "image", "question", "AUs", "AUs_coded", "labels", "description", "AU_intensities"),
        *("valence", "arousal", "meta_info", "is_valid", "rejected"),
    )
)
_LABELS = ("labels", "AUs", "AU_intensities")  # a line that has one of these under another name has lost its labels

# What other formats call them, as `_plain` leaves a name.
_NAMES: dict[str, str] = {
    "labels": "label emotion emotions emotionlabel emotionlabels expression expressions expressionlabel class category",
    "AUs": "au actionunit actionunits aulabel aulabels aulist",
    "AUs_coded": "aucoded auscoded codedaus",
    "AU_intensities": "auintensity auvalue auvalues augrade augrades aulevel aulevels auscores",
    "description": "analysis caption text reasoning rationale explanation response answer output conversations messages",
    "image": "images imagepath imagefile imagename img imgpath imgname filename filepath file path picture photo",
    "question": "prompt query instruction",
}
_VAGUE = frozenset(("class", "category"))  # a label only if its value is one: both are said of pictures, too
_TOLD = 3  # keys of a line that are named in a message
_LONGEST = 40  # characters of the name of an emotion or a unit: longer texts are not compared
_KEY_OF = {name: key for key, names in _NAMES.items() for name in names.split()}


def unread(raw: Mapping[str, Any]) -> list[str]:
    """Keys of a line that nothing reads."""
    return sorted(raw.keys() - KEYS)


def meant(raw: Mapping[str, Any], key: str, emotions: tuple[str, ...]) -> str | None:
    """Which key of a line somebody meant by one that nothing reads; None if it is just something else.

    Args:
        raw: the line. A key that it has already was not meant.
        key: one of `unread`.
        emotions: the allowed ones; a value made of them is a label whatever its key is called.
    """
    found = _by_value(key, raw[key], emotions) or _by_name(key)
    return found if found and _empty(raw.get(found)) else None


def named_otherwise(raw: Mapping[str, Any], known: str) -> str | None:
    """The key of a line that stands for a known one by another name."""
    return next((key for key in unread(raw) if _by_name(key) == known), None)


def refuse_lost_labels(raw: Mapping[str, Any], emotions: tuple[str, ...]) -> None:
    """Refuses a line whose labels stand under a key that nothing reads.

    Raises:
        FEAError: naming each such key, and the one that was meant.
    """
    lost = {
        key: meant(raw, key, emotions)
        for key in unread(raw)
        if not _empty(raw[key]) and (_plain(key) not in _VAGUE or _by_value(key, raw[key], emotions))
    }
    told = [f"'{key}' (is '{right}' meant?)" for key, right in lost.items() if right in _LABELS]
    if told:
        more = [f"{len(told) - _TOLD} more"] * (len(told) > _TOLD)
        columns = any(map(column_of, lost))
        raise FEAError(
            f"{'keys are' if told[1:] else 'key is'} not read: {', '.join(told[:_TOLD] + more)}; "
            + ('write {"AUs": {"AU1": 1, "AU2": 0}}, ' if columns else "rename, ")
            + "or move what is no label into 'meta_info'"
        )


def _empty(value: Any) -> bool:
    return unknown(value) or value in ([], {})


@lru_cache(maxsize=4096)
def _by_name(key: str) -> str | None:
    plain = _plain(key)
    same = {_plain(known): known for known in KEYS} | _KEY_OF
    near = difflib.get_close_matches(plain, map(_plain, KEYS), 1, cutoff=0.8)
    return same.get(plain) or (same[near[0]] if near else None)


def _plain(key: str) -> str:
    return re.sub(r"[\W_]", "", key).casefold()


def _by_value(key: str, value: Any, emotions: tuple[str, ...]) -> str | None:
    """What a value shows: words that are emotions, codes of units, or a number in a column that is called like one of them."""
    if column_of(key):
        return "AUs" if value in (0, 1) else "AU_intensities"
    number = isinstance(value, int | float)
    if number and emotion_name(key, emotions) in emotions:
        return "labels"
    items = [value] if isinstance(value, str) else list(value) if isinstance(value, list | dict) else []
    if not items or not all(isinstance(item, str) and len(item) <= _LONGEST for item in items):
        return None
    if all(column_of(item) for item in items):
        graded = isinstance(value, dict) and any(grade not in (0, 1, None) for grade in value.values())
        return "AU_intensities" if graded else "AUs"
    return "labels" if all(emotion_name(item, emotions) in emotions for item in items) else None
