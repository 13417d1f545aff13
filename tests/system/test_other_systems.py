"""A system without `fcntl`, `resource`, SIGUSR1, `fork` and `poll`, such as Windows: locks lock, and commands work."""

from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import fit_arguments

import fea
from fea.errors import FEAError
from fea.system.files import common_root

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
# A person's first hour, with texts that a file in the encoding of Western Windows has no room for.
COMMANDS = """
import multiprocessing, os, select, sys
multiprocessing.set_start_method("spawn")  # how processes that read images begin where there is no fork
sys.modules["fcntl"] = None
number = signal.SIGUSR1
del signal.SIGUSR1, select.poll, os.fork, os.sched_getaffinity
import fea.system.signals
signal.SIGUSR1 = number  # the trainer takes it for there, unless the system has another name
from fea.web import server
server.make_server = lambda *_, **__: type("Ended", (), {"serve_forever": lambda self: None})()
from fea.cli import main
for line in sys.stdin.buffer.read().decode().splitlines():
    code = main(line.split(" "))
    print(f"[{code}]", flush=True)
"""
MEMORY = "import psutil; from fea.system import machine; print(machine.total_memory() == psutil.virtual_memory().total)"


def run(code: str, *arguments: str, typed: str = "\n", **environment: str) -> str:
    words = [sys.executable, "-c", HIDE + code, *arguments]
    ended = subprocess.run(words, input=typed, capture_output=True, text=True, env={**os.environ, **environment})
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_everything_can_be_imported() -> None:
    *names, signals = run(WALK).splitlines()
    files = Path(fea.__path__[0]).glob("*/*.py")
    assert {f"fea.{file.parent.name}.{file.stem}" for file in files if file.stem != "__init__"} <= set(names)
    assert signals == "15"


def test_the_commands_do_their_work(tmp_path: Path) -> None:
    faces, runs = tmp_path / "gesichter", tmp_path / "runs"
    lines = f"{faces}/faces.jsonl"
    typed = [
        f"data faces {faces} --n 12 --text none",
        f"data check {lines}",
        " ".join(fit_arguments("sft", runs / "sft", trainer__max_steps=1, trainer__enable_progress_bar="true")),
        f"analyze {faces}/images/0-000000.png --model {runs}/sft --question \u4f60\u597d --max_tokens 4",
        f"synthesize {lines} --model {runs}/sft --out {tmp_path}/s.jsonl --max_tokens 4",
        f"data faces {faces}/more --n 12",
        f"review {faces}/more/faces.jsonl --reviewer \u4f60\u597d --port {free_port()}",
        f"data split {faces}/more/faces.jsonl --out {tmp_path}/split --unreviewed any",
        "fit --help",
    ]
    out = run(COMMANDS, typed="\n".join(typed), PYTHONIOENCODING="cp1252", HF_DATASETS_CACHE=str(tmp_path / "cache"))
    assert re.findall(r"^\[(\d)\]$", out, re.MULTILINE) == ["0"] * len(typed), out


def test_images_on_several_drives_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(paths: object) -> str:
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(os.path, "commonpath", apart)
    with pytest.raises(FEAError, match="the images lie on several drives"):
        common_root(["C:/a.png", "D:/b.png"], tmp_path)


def unsaid(file: Path) -> list[int]:
    """Lines of a module that open a text without its encoding, which would be the one of the system."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        called = ast.unparse(node.func)
        opens = called.rpartition(".")[2] in ("open", "fdopen") and called not in (
            "Image.open",
            "webbrowser.open",
            "os.open",
            "av.open",
        )
        words = [word.value for argument in node.args for word in ast.walk(argument) if isinstance(word, ast.Constant)]
        binary = any("b" in str(word) for word in words)
        if called.endswith((".read_text", ".write_text")) or (opens and not binary):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("code", ["open('a')", "p.open()", "p.open('a')", "p.read_text()", "p.write_text('b')"])
def test_what_says_no_encoding_is_found(tmp_path: Path, code: str) -> None:
    (tmp_path / "a.py").write_text(code)
    assert unsaid(tmp_path / "a.py") == [1]


def test_no_text_is_read_or_written_in_the_encoding_of_the_system() -> None:
    files = {file: unsaid(file) for file in Path(fea.__path__[0]).rglob("*.py")}
    assert len(files) > 100
    assert {file: lines for file, lines in files.items() if lines} == {}


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
