"""Commands that fea starts: what they import, and that they end with the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import fea
from fea import cli
from fea.system import children

SOURCE = str(Path(fea.__file__).parents[1])


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with files that are called like libraries, and one of the user's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", SOURCE)
    for name in ("yaml", "datasets", "typing", "runpy", "json", "jsonargparse"):
        Path(f"{name}.py").write_text("open('imported', 'a').write(__name__)")
    Path("my_rewards.py").write_text("open('own', 'w').close()\ndef found():\n    'Is found.'\n    return 3\n")
    return tmp_path


def test_nothing_in_the_working_directory_stands_for_a_library(hostile: Path) -> None:
    assert children.start(["data", "check", "nowhere.jsonl"]).wait(60) == 2
    assert not Path("imported").exists()


def test_python_dash_m_puts_the_working_directory_last_too(hostile: Path) -> None:
    for name in ("typing", "runpy", "json"):  # Python itself reads these before fea begins
        Path(f"{name}.py").unlink()
    words = ["data", "check", "nowhere.jsonl"]
    assert subprocess.run([sys.executable, "-m", "fea", *words], capture_output=True, check=False).returncode == 2
    assert not Path("imported").exists()


def test_a_module_of_the_user_is_found(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", SOURCE, str(hostile), *sys.path])
    monkeypatch.delitem(sys.modules, "my_rewards", raising=False)
    monkeypatch.setitem(cli.COMMANDS, "own", cli.Verb("my_rewards:found", "Is found."))
    assert cli.main(["own"]) == 3
    assert sys.path.count(str(hostile)) == 1
    assert sys.path[-1] == str(hostile)
    assert "" not in sys.path
    assert Path("own").exists()


def test_fea_is_found_where_it_lies_in_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(SOURCE)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert children.start(["--version"]).wait(60) == 0
    assert capfd.readouterr().out == f"fea {fea.__version__}\n"


def opened(pipe: Path) -> int:
    """The writing end of a pipe, once somebody reads from it."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_command_ends_with_the_process_that_started_it(hostile: Path, number: signal.Signals) -> None:
    os.mkfifo("settings.yaml")
    words = ["data", "faces", "drawn", "--n=1", "--config=settings.yaml"]
    calls = "import sys; from fea.training.fits import call; call(sys.argv[1:])"
    parent = subprocess.Popen([sys.executable, "-P", "-c", calls, *words])
    pipe = opened(Path("settings.yaml"))  # now the command waits for its settings
    (child,) = psutil.Process(parent.pid).children()
    parent.send_signal(number)
    assert psutil.wait_procs([child], timeout=20)[0] == [child]
    os.close(pipe)
    parent.wait(20)
