"""Names that configs and commands of earlier versions hold: refused, with the name that took their place.

The parser would say that there is no such class or setting, and suggest one that is spelt alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from fea.commands._configs import configs
from fea.errors import FEAError
from fea.training.renamed import GONE_SETTINGS, NEW_NAMES, NEW_SETTINGS, NEW_VALUES

_OPTION = re.compile(r"--?([\w.]+)\+?(?:=(.*))?", re.DOTALL)


def refuse_renamed(arguments: Sequence[str]) -> None:
    """Looks through the config files and the options of a command.

    Args:
        arguments: words of the command line.

    Raises:
        FEAError: one of them uses an old name; with the place and the new name. Or a config file holds no settings.
    """
    for place, setting, value in _written(arguments):
        if setting in NEW_SETTINGS:
            raise FEAError(f"{place}: '{setting}' is called '{NEW_SETTINGS[setting]}' now; write that")
        if setting in GONE_SETTINGS:
            raise FEAError(f"{place}: there is no setting '{setting}' anymore: {GONE_SETTINGS[setting]}; leave it out")
        new = NEW_VALUES.get(setting, {}) | NEW_NAMES
        if isinstance(value, str) and value in new:
            raise FEAError(f"{place}: '{value}' is called '{new[value]}' now; write that")


def _written(arguments: Sequence[str]) -> Iterator[tuple[str, str, Any]]:
    """All settings that are given: where, the dotted name without `init_args` and `class_path`, and the value."""
    for file, settings in configs(arguments):
        for key, value in _nested("", settings):
            yield f"config '{file}'", key, value
    for number, word in enumerate(arguments):
        if option := _OPTION.fullmatch(word):
            name, value = option.groups()
            following = arguments[number + 1 : number + 2]
            text = following[0] if value is None and following else value
            for key, inner in _nested(_plain(name), _parsed(text)):
                yield f"option --{name}", key, inner


def _nested(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A setting and all that lie in it; entries of a list have the name of the list."""
    yield key, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _nested(_plain(f"{key}.{name}"), inner)
    if isinstance(value, list):
        for inner in value:
            yield from _nested(key, inner)


def _plain(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in ("", "init_args", "class_path"))


def _parsed(text: str | None) -> Any:
    """The value of an option; a dictionary or a list may be written as YAML."""
    if not text or text[0] not in "{[":
        return text
    import yaml  # type: ignore[import-untyped]

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text  # the parser says what is wrong with it
