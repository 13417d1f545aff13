"""The config files that a command names, read before anything is imported that takes seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from fea.errors import FEAError


def configs(arguments: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each config file among the words of a command, with what it holds; settings in place of a file are left to the parser.

    Raises:
        FEAError: there is no such file, or it holds no settings; the parser would not say which of them it is.
    """
    for file in _named(arguments):
        if Path(file).is_file():
            yield file, _read(file)
        elif file.endswith((".yaml", ".yml")):
            raise FEAError(f"there is no file '{Path(file).resolve()}'; check the path")


def _named(arguments: Sequence[str]) -> Iterator[str]:
    for word, following in pairwise([*arguments, ""]):
        if word in ("--config", "-c"):
            yield following
        elif word.startswith(("--config=", "-c=")):
            yield word.partition("=")[2]


def _read(file: str) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        with open(file, "rb") as content:
            settings = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise FEAError(f"config '{file}' is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise FEAError(f"config '{file}' holds no settings; write lines such as 'seed_everything: 0'")
    return settings
