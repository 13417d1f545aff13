"""What the first lines of a file show of where it comes from: by the names in them, never by their places."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

_DELIMITER = re.compile(r"[,;\t|]")
_RAF_DB = re.compile(r"(?:train|test)_\d+\.\w{3,4}\s+\d+\s*$", re.IGNORECASE)
_RAF_AU = re.compile(r"\d+\.\w{3,4}\s+(?:null|[A-Z]{0,2}\d+[A-E]?(?:\+[A-Z]{0,2}\d+[A-E]?)*)\s*$", re.IGNORECASE)
_FERPLUS = re.compile(
    r"(?:(?:Training|PublicTest|PrivateTest),(?:fer\d+\.png)?|fer\d+\.png,\"\(.*\)\"),(?:\d+,){9}\d+", re.IGNORECASE
)
_FEA = frozenset(("labels", "AUs", "description"))  # a line that has one of these is one of ours


class Sign(NamedTuple):
    """A format: its converter, and what it is called in a sentence."""

    name: str
    told: str


OPENFACE = Sign("openface", "an OpenFace table")
PY_FEAT = Sign("py-feat", "a Py-Feat table")
LIBREFACE = Sign("libreface", "a LibreFace table")
FER2013 = Sign("fer2013", "the table of FER2013")
FERPLUS = Sign("ferplus", "the table of FER+")
AFFECTNET = Sign("affectnet", "a table of AffectNet")
BP4D = Sign("bp4d", "a table of BP4D")
RAF_DB = Sign("raf-db", "the list of RAF-DB")
RAF_AU = Sign("raf-au", "the list of RAF-AU")
CONVERSATIONS = Sign("conversations", "a file of conversations (LLaVA style)")
FABA = Sign("faba-instruct", "a file of FABA-Instruct")


def sign_of(head: str) -> Sign | None:
    """What a text is, by its beginning; None if it does not show."""
    lines = [line.strip() for line in head.lstrip("\ufeff").splitlines() if line.strip() and line[0] != "#"][:3]
    if not lines:
        return None
    if lines[0][0] in "[{":
        return _of_json(head)
    if all(_RAF_DB.match(line) for line in lines):
        return RAF_DB
    if all(_RAF_AU.match(line) for line in lines):
        return RAF_AU
    if all(_FERPLUS.fullmatch(line) for line in lines):
        return FERPLUS
    return _of_columns([cell.strip().strip("\"'").lower() for cell in _DELIMITER.split(lines[0])])


def _of_columns(cells: list[str]) -> Sign | None:
    names = set(cells)
    if {"emotion", "pixels"} <= names:
        return FER2013
    if {"nf", "unknown", "contempt"} <= names:
        return FERPLUS
    if "subdirectory_filepath" in names:
        return AFFECTNET
    if cells[:4] == ["0", "1", "2", "3"]:
        return BP4D
    if any(re.fullmatch(r"au_\d+(_intensity)?", name) for name in names) and "facial_expression" in names:
        return LIBREFACE
    if any(re.fullmatch(r"au\d\d_r", name) for name in names) and names & {"confidence", "au01_c", "au12_c"}:
        return OPENFACE
    if "facerectx" in names or {"au01", "anger", "happiness"} <= names:
        return PY_FEAT
    return LIBREFACE if any(re.fullmatch(r"au_\d+_intensity", name) for name in names) else None


def _of_json(head: str) -> Sign | None:
    first = _first_object(head.lstrip("\ufeff \r\n\t["))
    if first is None or first.keys() & _FEA:
        return None
    if "gpt4" in first or ("landmark" in first and "conversations" in first):
        return FABA
    turns = first.get("conversations", first.get("messages"))
    return CONVERSATIONS if isinstance(turns, list) else None


def _first_object(text: str) -> dict[str, Any] | None:
    try:
        found, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
