"""`fea data check`: what is in a file, what is wrong with it, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fea.cli import main


def write(folder: Path, *rows: dict[str, Any] | str) -> Path:
    Image.new("RGB", (2, 2)).save(folder / "a.png")
    lines = [row if isinstance(row, str) else json.dumps({"image": "a.png", **row}) for row in rows]
    (folder / "faces.jsonl").write_text("\n".join(lines))
    return folder / "faces.jsonl"


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], str]:
    code = main(["data", "check", *map(str, arguments)])
    told = capsys.readouterr()
    return code, told.out.splitlines(), told.err


def test_a_good_file_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(
        tmp_path,
        {"id": 1, "AUs": ["AU6", "AUL12"], "labels": ["joy"], "description": "AU6"},
        {"id": 2, "AUs": [], "labels": ["fear"]},
        "",
        {"id": 3, "description": "<think>AU1</think><answer>fear</answer>"},
        {"id": 4, "AUs": ["AU24", "AU25"], "labels": ["fear"]},
        {"is_valid": False},
    )
    assert check(capsys, file) == (
        0,
        [
            f"{file}: 5 lines, 4 usable, 0 bad, 1 marked invalid",
            "emotion known: 3 (75 %)",
            "  fear                 2",
            "  happiness            1",
            "Action Units coded: 3 (75 %)",
            "  AU6    cheek raiser           1",
            "  AUL12  lip corner puller      1",
            "  AU24   lip pressor            1",
            "  AU25   lips part              1",
            "analyses: 2 (50 %), of which 1 get think and answer tags",
            "warning: 1 faces carry units that no still face shows together",
        ],
        "",
    )
    assert check(capsys, file, "--as_is")[1][9] == "analyses: 2 (50 %), of which 0 get think and answer tags"


def test_what_is_wrong_is_listed_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "x"}, {"id": "x"}, {"id": "y", "image": "b.png"}, {"labels": ["pain"]}, *['{"image": 1}'] * 11]
    file = write(tmp_path, *rows)
    code, lines, _ = check(capsys, file)
    assert code == 2
    assert lines[0] == f"{file}: 15 lines, 3 usable, 12 bad, 0 marked invalid"
    bad = lines.index("bad lines: 12")
    assert lines[bad + 1].startswith(f"  {file}:4: key 'labels': unknown emotion \"pain\"")
    assert lines[bad + 2].startswith(f"  {file}:5: key 'image': expected the path of one image")
    assert lines[bad + 11 : bad + 14] == [
        "  ... and 2 more",
        "missing images: 1",
        f"  {file}:3: image '{tmp_path / 'b.png'}' does not exist",
    ]
    assert lines[-2:] == ["repeated ids: 1", f"  {file}:2: id 'x' occurs twice"]


def test_repeated_ids_alone_are_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = check(capsys, write(tmp_path, {"id": "x"}, {"id": "x"}))
    assert (code, lines[-2]) == (0, "repeated ids: 1")


def test_what_is_not_there_takes_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, {"id": 1}, {"id": 2, "AUs": []})
    assert check(capsys, file) == (
        0,
        [
            f"{file}: 2 lines, 2 usable, 0 bad, 0 marked invalid",
            "emotion known: 0 (0 %)",
            "Action Units coded: 1 (50 %)",
            "analyses: 0 (0 %), of which 0 get think and answer tags",
        ],
        "",
    )


def test_root_and_emotions_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "lists").mkdir()
    file = write(tmp_path, {"labels": ["contempt"]}).rename(tmp_path / "lists" / "faces.jsonl")
    assert check(capsys, file, "--emotions", "basic8", "--image_root", tmp_path)[0] == 0
    assert check(capsys, file, "--emotions", '["contempt"]', "--image_root", tmp_path)[0] == 0
    assert check(capsys, file, "--emotions", "basic8")[0] == 2
    assert check(capsys, file, "--image_root", tmp_path)[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.jsonl"], "fea: error: data file 'no.jsonl' does not exist"),
        (["faces.jsonl", "--emotions", "happy"], "fea: error: emotions: 'happy' is no preset; presets are basic7"),
    ],
)
def test_bad_arguments_are_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    write(tmp_path, {})
    monkeypatch.chdir(tmp_path)
    code, lines, error = check(capsys, *arguments)
    assert (code, lines) == (2, [])
    assert error.startswith(message)
    assert error.count("\n") == 1
