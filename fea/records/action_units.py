"""Reads labels of Action Units in the shapes people have them in, where there is one way to read them.

    ["AU6", "AUL12"]   "AU6, AU12"   "6+L12"   [6.0, 12.0]   ["cheek raiser"]   ["AU06_c"]   {"AU6": 1, "AU12": 0}

A mapping says what was looked for, too. A row of 0 and 1 names no unit, and a grade is no yes or no: both are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from fea.errors import FEAError
from fea.facs import ACTION_UNITS, au_code, au_number, plain_word
from fea.records.missing import missing, unknown

_CANONICAL = frozenset(f"AU{side}{number}" for number in ACTION_UNITS for side in ("", "L", "R"))
_NUMBER_OF = {unit.name: number for number, unit in ACTION_UNITS.items()}
# A code with what it is called: "AU12 (lip corner puller)", "AU06: cheek raiser"; or with the column it comes from, "AU06_c".
_NAMED = re.compile(
    r"(?P<code>AU[\s_-]?[LR]?\d{1,2}[LR]?[A-E]?)\s{0,2}(?:[:(_-]\s{0,2})?(?P<name>[a-z][a-z _-]{0,40})\)?",
    re.IGNORECASE,
)
_COLUMNS = ("r", "c")  # what OpenFace calls intensity and presence
_BETWEEN = re.compile(r"[,;|+&\n]|\band\b")
_BEFORE_CODE = re.compile(r"\s+(?=AU)", re.IGNORECASE)
_VALUE = re.compile(r"\d{1,4}(?:\.\d{1,9})?", re.ASCII)


class Units(NamedTuple):
    """What a value says: the codes of the units that show, and of those that were looked for; None for unknown."""

    present: list[str] | None
    coded: list[str] | None = None


def shown(value: Any) -> str:
    """A value as it stands in the file, cut short for a message."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def read_units(value: Any, key: str) -> Units:
    """Reads the units that a value names.

    Args:
        value: of the key; a missing one, or one with nothing but missing parts, is unknown.
        key: of the line, for messages.

    Raises:
        FEAError: it cannot be read, or in more than one way.
    """
    if isinstance(value, list):
        return Units(_listed(value, key))
    if value == "[]":  # an empty list that has become text
        return Units([])
    if unknown(value):
        return Units(None)
    if isinstance(value, dict):
        return _mapped(value, key)
    if isinstance(value, str):
        return Units(_listed([value], key))
    raise FEAError(f'key \'{key}\': expected a list such as ["AU6", "AU12"], found {shown(value)}')


def unit(item: Any, key: str) -> str:
    """The canonical code of one unit.

    Raises:
        FEAError: it names none.
    """
    code = _code_of(item)
    if code is None:
        raise _no_unit(item, key)
    return code


def column_of(key: str) -> str | None:
    """The code of the unit that a key of a line names, as the column of a table does: "AU06", "AU06_r"; None for other keys."""
    return _code(key) if key[:2].upper() == "AU" else None


def _no_unit(item: Any, key: str) -> FEAError:
    return FEAError(
        f'key \'{key}\': {shown(item)} is no Action Unit; write "AU12", or "AUL12" for the person\'s left side'
    )


def _code_of(item: Any) -> str | None:
    if isinstance(item, str):
        return _code(item)
    if isinstance(item, bool) or not isinstance(item, int | float) or not 0 < item < 100 or item % 1 != 0:
        return None
    return _code(str(int(item)))


@lru_cache(maxsize=4096)
def _code(text: str) -> str | None:
    if code := au_code(text):
        return code
    if number := _NUMBER_OF.get(plain_word(text)):
        return f"AU{number}"
    named = _NAMED.fullmatch(text.strip())
    code = au_code(named["code"]) if named else None
    if named is None or code is None:
        return None
    name = plain_word(named["name"])
    return code if name in _COLUMNS or _NUMBER_OF.get(name) == au_number(code) else None


def _listed(items: Sequence[Any], key: str) -> list[str] | None:
    """The units of a list; an empty one says that somebody looked and found none, one of missing values says nothing."""
    try:
        if _CANONICAL.issuperset(items):  # of a million lines, nearly all
            return list(items)
    except TypeError:  # lists and objects are in no set
        pass
    _refuse_row(items, key)
    codes = [code for item in items if not unknown(item) for code in _several(item, key)]
    return codes if codes or not items else None


def _several(item: Any, key: str) -> list[str]:
    """The units of a text that names several, or of an item that names one."""
    if code := _code_of(item):
        return [code]
    if not isinstance(item, str):
        raise _no_unit(item, key)
    parts = [float(part) if _VALUE.fullmatch(part) else part for part in _parts(item) if not unknown(part)]
    _refuse_row(parts, key)
    codes = [code for code in map(_code_of, parts) if code is not None]
    if len(codes) < len(parts):
        raise _no_unit(item, key)
    return codes


def _parts(text: str) -> Iterator[str]:
    """What stands between commas and the like; where that is no unit, what stands between blanks: "AU 1 AU 4", "1 4"."""
    for part in _BETWEEN.split(text.strip().strip("[](){}")):
        whole = part.strip(" \t\r'\"")
        if _code(whole) or unknown(whole):
            yield whole
        else:
            yield from _BEFORE_CODE.split(whole) if _BEFORE_CODE.search(whole) else whole.split()


def _refuse_row(items: Sequence[Any], key: str) -> None:
    """Refuses a row of values by unit, such as [0, 1, 0, 0, 1]: the order of the units stands nowhere."""
    values = [item for item in items if not missing(item)]
    if len(values) < 2 or not all(isinstance(value, int | float) for value in values):
        return
    if set(values) <= {0, 1} or any(value < 1 or value % 1 != 0 for value in values):
        raise FEAError(
            f"key '{key}': {shown(list(items))} is a row of values, and the order of their units stands nowhere; write the "
            'units that show, such as ["AU6", "AU12"], or {"AU6": 1, "AU12": 1, "AU15": 0} for all that were looked for'
        )


def _mapped(value: Mapping[str, Any], key: str) -> Units:
    """Units that are mapped to whether they show; one without a value was not looked for."""
    flags: dict[str, bool] = {}
    for name, flag in value.items():
        code = unit(name, key)
        if missing(flag):
            continue
        if flag in ("0", "1"):
            flag = int(flag)
        if not isinstance(flag, int | float) or flag not in (0, 1):
            raise FEAError(
                f"key '{key}': {code} is {shown(flag)}; write 1 if it shows and 0 if not, and grades under 'AU_intensities'"
            )
        if flags.setdefault(code, bool(flag)) != bool(flag):
            raise FEAError(f"key '{key}': {code} is said to show and not to show; keep one of the two")
    return Units([code for code, flag in flags.items() if flag], list(flags)) if flags else Units(None)
