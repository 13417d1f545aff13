"""A system without `fcntl`, `resource` and SIGUSR1, such as Windows: all is imported, locks lock, memory is known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fea

# Modules of fea alone miss them, so that what else is installed stays what it is on this system.
HIDE = """
import builtins, signal
true_import = builtins.__import__
def hiding(name, globals=None, *rest, **more):
    if name in ("fcntl", "resource") and globals and globals["__name__"].partition(".")[0] == "fea":
        raise ModuleNotFoundError(f"No module named {name!r}")
    return true_import(name, globals, *rest, **more)
builtins.__import__ = hiding
"""
WALK = """
import importlib, pkgutil, lightning.pytorch, fea
del signal.SIGUSR1
for found in pkgutil.walk_packages(fea.__path__, "fea."):
    if found.name != "fea.__main__":
        importlib.import_module(found.name)
        print(found.name)
from fea.system.signals import SIGNALS
print(*map(int, SIGNALS))
"""
LOCK = """
import sys
from pathlib import Path
from fea.system.files import lock
held = lock(Path(sys.argv[1]))
print(held is not None, flush=True)
if held is not None:
    input()
    held.close()
    print(lock(Path(sys.argv[1])) is not None)
"""
MEMORY = "import psutil; from fea.system import machine; print(machine.total_memory() == psutil.virtual_memory().total)"


def run(code: str, *arguments: str) -> str:
    words = [sys.executable, "-c", HIDE + code, *arguments]
    ended = subprocess.run(words, input="\n", capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_everything_can_be_imported() -> None:
    *names, signals = run(WALK).splitlines()
    files = Path(fea.__path__[0]).glob("*/*.py")
    assert {f"fea.{file.parent.name}.{file.stem}" for file in files if file.stem != "__init__"} <= set(names)
    assert signals == "15"


def test_a_lock_keeps_others_out_until_it_is_closed(tmp_path: Path) -> None:
    file = str(tmp_path / "new" / ".lock")
    words = [sys.executable, "-c", HIDE + LOCK, file]
    first = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "True\n"
    assert run(LOCK, file) == "False\n"
    assert first.communicate("\n")[0] == "True\n"
    assert run(LOCK, file) == "True\nTrue\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="the memory of the GPU counts there")
def test_memory_is_known() -> None:
    assert run(MEMORY) == "True\n"
