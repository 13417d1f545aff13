"""The key 'rejected' of a line: what a text, an image or a question is preferred to. It makes a preference pair of the line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fea.errors import FEAError
from fea.records.action_units import shown
from fea.records.image_path import image_path
from fea.records.missing import missing

PARTS = ("description", "image", "question")


def read_rejected(raw: Mapping[str, Any], root: str) -> str | None:
    """The rejected side of a line, as JSON text; None if it has none.

        {"image": "1.png", "description": "... (AU6) ...", "rejected": {"description": "... (AU7) ...", "image": "2.png"}}

    Args:
        raw: the line.
        root: the image root.

    Raises:
        FEAError: the key holds something else, or what stands in the line itself.
    """
    value = raw.get("rejected")
    if missing(value):
        return None
    if not isinstance(value, dict) or not value or not value.keys() <= set(PARTS):
        raise FEAError(
            f"key 'rejected': expected an object with one or several of {', '.join(PARTS)}, found {shown(value)}"
        )
    if missing(raw.get("description")):
        raise FEAError(
            "key 'rejected': the line has no description that would be preferred; write one, or drop the key"
        )
    found: dict[str, str] = {}
    for part, given in value.items():
        if part == "image":
            found[part] = image_path({"image": given}, root)
        elif not isinstance(given, str) or not given.strip():
            raise FEAError(f"key 'rejected': '{part}' is {shown(given)}; expected text")
        else:
            found[part] = given
        if found[part] == (image_path(raw, root) if part == "image" else raw.get(part)):
            raise FEAError(f"key 'rejected': its {part} is that of the line itself, so neither is to be preferred")
    return json.dumps(found)
