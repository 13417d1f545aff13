"""Small data sets in their native layouts, and what `fea data convert` makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from fea.cli import main


class Converted(NamedTuple):
    """What came of a conversion.

    Attributes:
        code: of the command.
        lines: of the file.
        told: what was printed.
        error: the sentence about bad input.
        words: what was converted.
    """

    code: int
    lines: list[dict[str, Any]]
    told: str
    error: str
    words: tuple[object, ...] = ()


def picture(file: Path, gray: int = 128) -> Path:
    """A tiny image in a folder that is made for it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), gray).save(file, "PNG" if file.suffix.lower() == ".png" else "JPEG")
    return file


def text(file: Path, *lines: str, end: str = "\n") -> Path:
    """A file of lines in a folder that is made for it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes("".join(line + end for line in lines).encode())
    return file


def convert(capsys: pytest.CaptureFixture[str], out: Path, *words: object) -> Converted:
    """Runs the command."""
    capsys.readouterr()
    code = main(["data", "convert", *map(str, words), "-o", str(out)])
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []
    return Converted(code, lines, shown.out, shown.err, words)


def check(capsys: pytest.CaptureFixture[str], out: Path, *words: object) -> tuple[int, str]:
    """Whether `fea data check` takes a converted file: its exit code, and what it says."""
    code = main(["data", "check", str(out), *map(str, words)])
    return code, capsys.readouterr().out


def passes(capsys: pytest.CaptureFixture[str], converted: Converted, out: Path, *words: object) -> None:
    """A good conversion: every line is taken by `fea data check`, and a second one gives the same bytes."""
    assert converted.code == 0, converted.error
    code, told = check(capsys, out, *words)
    assert code == 0, told
    assert f"{len(converted.lines)} lines, {len(converted.lines)} usable, 0 bad" in told
    assert "warning: keys" not in told
    assert "repeated ids" not in told
    _again(capsys, converted, out)


def _again(capsys: pytest.CaptureFixture[str], converted: Converted, out: Path) -> None:
    """Converts a second time, compares all bytes, and takes away what was written."""
    second = out.with_name(f"second-{out.name}")
    assert convert(capsys, second, *converted.words).code == 0
    folders = [file.with_name(f"{file.stem}_images") for file in (out, second)]
    names = [folder.name.encode() for folder in folders]
    assert second.read_bytes().replace(names[1], names[0]) == out.read_bytes()
    first, again = ({image.name: image.read_bytes() for image in folder.glob("*")} for folder in folders)
    assert again == first
    second.unlink()
    if folders[1].exists():
        shutil.rmtree(folders[1])
