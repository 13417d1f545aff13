"""How far long work is: lines in a file, a bar on a terminal."""

from __future__ import annotations

import re
import sys

import pytest

from fea.system import progress as module
from fea.system.progress import progress


def test_a_file_receives_a_line_whenever_one_is_due_and_one_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with progress(1000, "faces", done=100) as advance:
        for seconds in (30, 29, 1, 59, 1):
            clock[0] += seconds
            advance(10)
    told = [re.sub(r"^\S+ \S+ ", "", line) for line in capsys.readouterr().err.splitlines()]
    assert told == [
        "faces 130/1000, 13%, 0:01:00 gone, 0.5/s, 0:29:00 left",
        "faces 150/1000, 15%, 0:02:00 gone, 0.417/s, 0:34:00 left",
        "faces 150/1000, 15%, 0:02:00 gone, 0.417/s, 0:34:00 left",
    ]


def test_work_that_is_done_has_no_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(2, "faces") as advance:
        advance(2)
    with progress(0, "faces"):
        pass
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d faces 2/2, 100%, 0:00:00 gone", first)
    assert "faces 0/0, 100%" in second


def test_who_is_not_the_first_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(2, "faces", silent=True) as advance:
        advance(2)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_the_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress(2, "faces") as advance:
        advance(2)
    err = capsys.readouterr().err
    assert "\r" in err
    assert "2/2" in err
    assert "faces/s" in err
