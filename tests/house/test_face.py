"""The public face: names that are loaded when they are asked for, and nothing before."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import fea

SOURCE = ast.parse(Path(fea.__file__).read_text(encoding="utf-8"))
# What type checkers are told, by name.
TOLD = {
    alias.name: statement.module
    for statement in ast.walk(SOURCE)
    if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("fea.")
    for alias in statement.names
}


@pytest.mark.parametrize("name", [name for name in fea.__all__ if name != "__version__"])
def test_a_name_is_what_its_module_has(name: str) -> None:
    assert getattr(fea, name) is getattr(import_module(str(TOLD[name])), name)


def test_type_checkers_are_told_what_there_is() -> None:
    assert {*TOLD, "__version__"} == set(fea.__all__)
    assert set(fea.__all__) <= set(dir(fea))


def test_an_import_loads_nothing() -> None:
    code = "import sys; before = set(sys.modules); import fea; print(*sorted(set(sys.modules) - before))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert [name for name in shown.split() if name.partition(".")[0] not in sys.stdlib_module_names] == ["fea"]


def test_an_answer_is_read_without_torch() -> None:
    code = (
        "import sys, fea; print(fea.parse(fea.render('Cheeks up (AU6).', 'Happy'), ('happiness',)).emotion, "
        "'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "happiness False\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fea' has no attribute 'lod'"):
        fea.lod  # noqa: B018
    assert not hasattr(fea, "Policy")
