"""Bodies of requests: JSON objects whose every field is looked at, and refused in a sentence that names it."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from PIL import Image

from fea.errors import FEAError
from fea.images.opening import read_image

_URL = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)
_SEND = 'send an object, for /analyze {"image": the bytes of a photograph in base64}, for others see /openapi.json'
_LONGEST = 2000  # characters of a text: a question of two pages


def body_of(data: bytes) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        FEAError: it is none.
    """
    try:
        body = json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise FEAError(f"the body is no JSON ({str(error)[:200]}); {_SEND}") from None
    if not isinstance(body, dict):
        raise FEAError(f"the body is {_kind(body)}; {_SEND}")
    return body


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _kind(value: object) -> str:
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")


class Fields:
    """The fields of an object, each of a kind and within bounds; null is the same as nothing.

    Args:
        found: the object.
        known: names that it may have.
        place: what stands before a name in a message, such as "messages[0].".

    Raises:
        FEAError: there is another one.
    """

    def __init__(self, found: Mapping[str, Any], known: Collection[str], place: str = ""):
        self.found, self.place = found, place
        if strange := sorted(set(found) - set(known)):
            raise FEAError(f"{place}{strange[0][:80]!r} is not known; known are {', '.join(known)}")

    def has(self, name: str) -> bool:
        """Whether something is there."""
        return self.found.get(name) is not None

    def text(self, name: str, default: str = "", longest: int = _LONGEST) -> str:
        """A text that a model can read."""
        value = self._of(name, str, "a text", default)
        if len(value) > longest:
            self.refuse(name, f"it has {len(value)} characters; give at most {longest}")
        if not value.isascii():
            check_characters(f"{self.place}{name}", value)
        return str(value)

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number."""
        value = self._of(name, int, "a whole number", default)
        if not least <= value <= most:
            self.refuse(name, f"give a whole number from {least} to {most}")
        return int(value)

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """A number."""
        value = self._of(name, (int, float), "a number", default)
        if not least <= value <= most:
            self.refuse(name, f"give a number from {least} to {most}")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false, which is the default."""
        return bool(self._of(name, bool, "true or false", False))

    def items(self, name: str, most: int) -> list[Any]:
        """A list that is not empty."""
        value = self._of(name, list, "a list", [])
        if not 1 <= len(value) <= most:
            self.refuse(name, f"it has {len(value)} entries; give 1 to {most}")
        return list(value)

    def object(self, name: str) -> Mapping[str, Any]:
        """An object; an empty one by default."""
        value: Mapping[str, Any] = self._of(name, dict, "an object", {})
        return value

    def image(self, name: str, most_pixels: int, enough: int | None, only_url: bool = False) -> Image.Image:
        """An upright RGB picture, from base64 with or without "data:image/...;base64," before it.

        Args:
            name: of the field.
            most_pixels: it may have.
            enough: pixels that will be looked at.
            only_url: refuse base64 alone.
        """
        value = self._of(name, str, "an image in base64", "")
        if not value:
            self.refuse(name, "it is missing; send an image in base64")
        start = _URL.match(value)
        if only_url and not start:
            self.refuse(name, "send the image as data:image/...;base64,...; addresses are not fetched")
        try:
            data = base64.b64decode(value[start.end() if start else 0 :], validate=True)
        except ValueError as error:
            self.refuse(name, f"it is no base64 ({error}); addresses are not fetched")
        return read_image(io.BytesIO(data), f"{self.place}{name}: it", most_pixels, enough)

    def refuse(self, name: str, why: str) -> NoReturn:
        """Refuses the value of a field."""
        raise FEAError(f"{self.place}{name}: {why}")

    def _of(self, name: str, kind: type | tuple[type, ...], told: str, default: Any) -> Any:
        value = self.found.get(name)
        if value is None:
            return default
        # For Python a boolean is a number.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.refuse(name, f"it is {_kind(value)}; give {told}")
        return value


def check_characters(name: str, text: str) -> None:
    """Refuses halves of characters, which JSON can write and no tokenizer reads.

    Raises:
        FEAError: there is one.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FEAError(f"{name}: it holds half of a character; send whole ones") from None
