"""`fea data check`: what is in a file, what is wrong with it, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fea.cli import main
from fea.data import image_check


def write(folder: Path, *rows: dict[str, Any] | str) -> Path:
    Image.linear_gradient("L").save(folder / "a.png")
    lines = [row if isinstance(row, str) else json.dumps({"image": "a.png", **row}) for row in rows]
    (folder / "faces.jsonl").write_text("\n".join(lines))
    return folder / "faces.jsonl"


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], str]:
    code = main(["data", "check", *map(str, arguments)])
    told = capsys.readouterr()
    errors = [line for line in told.err.splitlines(keepends=True) if " gone" not in line]  # how far it is
    return code, told.out.splitlines(), "".join(errors)


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
            "warning: 1 images have labels that contradict each other",
            "  a.png: happiness (line 1), fear (line 2)",
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
    code, lines, _ = check(capsys, write(tmp_path, {"id": "x", "labels": ["joy"]}, {"id": "x"}))
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


def test_a_file_from_which_nothing_is_understood_does_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, {"labels": ["None"]}, {"Split": 1})
    assert check(capsys, file) == (
        2,
        [
            f"{file}: 2 lines, 2 usable, 0 bad, 0 marked invalid",
            "emotion known: 0 (0 %)",
            "Action Units coded: 0 (0 %)",
            "analyses: 0 (0 %), of which 0 get think and answer tags",
            "warning: keys that nothing reads: 'Split' (1 lines)",
            "warning: labels that name none of the emotions, and count as unknown: 'None' 1",
            "no label and no analysis is understood in any line: these faces can be predicted, and nothing else",
        ],
        "",
    )


def test_analyses_are_compared_with_their_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "<think>AU12.</think><answer>joy</answer>"
    file = write(tmp_path, {"labels": ["fear"], "description": said}, {"AUs": ["AU4"]}, {"AUs": ["AU12"]})
    assert [line for line in check(capsys, file)[1] if line.startswith("warning")] == [
        "warning: 1 of 1 analyses answer another emotion than their label: line 1"
    ]
    file = write(tmp_path, {"AUs": ["AU4"], "description": said}, {"AUs": ["AU12"], "description": said})
    assert [line for line in check(capsys, file)[1] if line.startswith("warning")] == [
        "warning: 1 of 2 analyses claim Action Units that were looked for and not found: line 1"
    ]


# --- images ---


@pytest.mark.parametrize("there", [0, 1])
def test_a_folder_that_is_not_named_is_one_sentence(
    there: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"image": f"{n}.png", "labels": ["fear"]} for n in range(20)]
    file = write(tmp_path, *rows[there:], *[{"labels": ["fear"]}] * there)
    assert main(["data", "check", str(file)]) == 2
    told = capsys.readouterr()
    missing, first = 20 - there, tmp_path / f"{there}.png"
    assert told.out.splitlines()[5:] == [
        f"{missing} of 20 images are not there, such as '{first}'; name their folder with --image_root"
    ]
    assert ("images" in told.err) == bool(there)


def test_images_are_opened_and_what_no_model_learns_from_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face = Image.linear_gradient("L").convert("RGB")
    face.save(tmp_path / "photo.jpg", quality=90)
    whole = (tmp_path / "photo.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[:-2])
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("Not found")
    (tmp_path / "padded.jpg").write_bytes(whole + bytes(100))
    (tmp_path / "copy.jpg").write_bytes(whole)
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    Image.new("L", (64, 64), 200).save(tmp_path / "gray.png")
    face.resize((31, 64)).save(tmp_path / "small.png")
    face.save(tmp_path / "saved.bmp")
    face.save(tmp_path / "again.png")
    names = (
        "photo.jpg",
        "cut.jpg",
        "half.jpg",
        "text.jpg",
        "padded.jpg",
        "copy.jpg",
        "black.png",
        "gray.png",
        "small.png",
    )
    file = write(tmp_path, *({"image": name, "labels": ["joy"]} for name in (*names, "saved.bmp", "again.png")))
    code, lines, _ = check(capsys, file)
    assert code == 2
    assert [line for line in lines if line.startswith("warning")] == [
        "warning: 2 images are black, or of another single color: black.png, gray.png",
        "warning: 1 images are tiny: less than 32 pixels: small.png",
        "warning: 4 images are copies of another one: "
        "padded.jpg = photo.jpg, copy.jpg = photo.jpg, saved.bmp = photo.jpg, again.png = photo.jpg",
    ]
    told = lines[lines.index("unreadable images: 3") + 1 :]
    for line, name, number in zip(told, ("cut.jpg", "half.jpg", "text.jpg"), (2, 3, 4), strict=True):
        assert line.startswith(f"  {file}:{number}: image '{tmp_path / name}' cannot be read (")
    assert check(capsys, file, "--images", "false")[0] == 0


def test_one_image_with_labels_that_contradict_each_other_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.linear_gradient("L").rotate(90).save(tmp_path / "b.png")
    Image.linear_gradient("L").save(tmp_path / "copy.png")
    file = write(
        tmp_path,
        {"labels": ["joy"]},
        {"labels": ["joy", "fear"], "image": "b.png"},
        {"labels": ["sad"], "image": "./a.png"},
        {"labels": ["fear"], "image": "b.png"},  # one of the two that are right
        {"labels": ["fear"], "image": "copy.png"},
        {"image": "b.png"},
    )
    code, lines, _ = check(capsys, file)
    assert code == 0
    assert lines[-3:] == [
        "warning: 1 images are copies of another one: copy.png = a.png",
        "warning: 1 images have labels that contradict each other",
        "  a.png: happiness (line 1), sadness (line 3), fear (line 5)",
    ]


def test_many_images_are_opened_on_request_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_check, "MOST_OPENED", 1)
    (tmp_path / "b.png").write_text("no image")
    file = write(tmp_path, {"labels": ["joy"]}, {"image": "b.png"})
    code, lines, _ = check(capsys, file)
    assert (code, lines[-1]) == (
        0,
        "warning: images were not opened: 2 are more than 1; open them with --images true",
    )
    assert check(capsys, file, "--images", "true")[0] == 2


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
