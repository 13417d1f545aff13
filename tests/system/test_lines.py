"""JSON lines: whole files, growing ones, and what a kill or a full disk leaves of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fea.system.lines import append, jsonl, whole_lines, write_jsonl


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    values = [{"text": 'ä\n"b"\u2028\u0085'}, ["x", 1.5, None], {}]
    write_jsonl(tmp_path / "new" / "a.jsonl", values)
    assert (tmp_path / "new" / "a.jsonl").read_bytes() == jsonl(values)
    assert jsonl(values).startswith('{"text": "ä\\n'.encode())
    assert whole_lines(tmp_path / "new" / "a.jsonl") == values
    assert whole_lines(tmp_path / "none.jsonl") == []


def test_added_lines_stand_after_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    append(file, [1, 2])
    append(file, [])
    append(file, [3])
    assert file.read_bytes() == b"1\n2\n3\n"


def test_lines_are_on_the_disk_before_the_next_ones_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda handle: forced.append((tmp_path / "a.jsonl").read_bytes()))
    append(tmp_path / "a.jsonl", [1])
    append(tmp_path / "a.jsonl", [2], keep=2)
    assert forced == [b"1\n", b"1\n2\n"]


def test_a_line_cut_short_is_left_out_and_cut_off_if_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"a": 1}\n{"a": 2, "long": "abcdefgh')
    assert whole_lines(file) == [{"a": 1}]
    append(file, [{}], keep=9)
    assert file.read_bytes() == b'{"a": 1}\n{}\n'
    append(file, [3])
    assert whole_lines(file) == [{"a": 1}, {}, 3]


@pytest.mark.parametrize("keep", [None, 2])
def test_lines_that_the_disk_refuses_are_taken_away_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int | None
) -> None:
    file = tmp_path / "a.jsonl"
    append(file, [1])

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            append(file, [2], keep)
    assert file.read_bytes() == b"1\n"
    append(file, [3], keep)
    assert file.read_bytes() == b"1\n3\n"


def test_a_file_of_which_something_is_kept_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        append(tmp_path / "a.jsonl", [1], keep=2)
    assert list(tmp_path.iterdir()) == []
