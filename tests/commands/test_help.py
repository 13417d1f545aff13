"""Help is there at once: a command's options are read without what the command works with."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "lightning", "transformers", "tensorboard", "numpy", "scipy", "pyarrow", "PIL", "jinja2")
CODE = f"""
import sys
from fea.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print(end.code, sorted(set({HEAVY}) & sys.modules.keys()))
"""


@pytest.mark.parametrize("name", ["data check", "data split"])
def test_help_loads_nothing_heavy(name: str) -> None:
    words = [sys.executable, "-c", CODE, *name.split(), "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert f"usage: fea {name}" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 []"
