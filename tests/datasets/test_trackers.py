"""Tables of OpenFace, Py-Feat and LibreFace: read by name, marked as silver."""

from __future__ import annotations

from pathlib import Path

import pytest
from converting import convert, passes, picture, text

OPENFACE = "face, confidence, pose_Rx, AU01_r, AU04_r, AU06_r, AU12_r, AU01_c, AU04_c, AU06_c, AU12_c, AU28_c"


@pytest.fixture
def openface(tmp_path: Path) -> Path:
    folder = tmp_path / "of"
    text(folder / "img_a.csv", OPENFACE, "0, 0.98, 0.01, 0.00, 1.20, 1.52, 2.31, 0, 0, 1, 1, 0")
    two = ["0, 0.9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0", "1, 0.9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0"]
    text(folder / "img_b.csv", OPENFACE, *two, end="\r\n")
    text(folder / "img_c.csv", OPENFACE, "0, 0.5, 0, nan, 0, 0, 0, 1, 0, 0")
    text(folder / "notes.csv", "who,what", "me,that")
    for name in ("img_a.PNG", "img_b.png", "img_c.png"):
        picture(folder / name)
    return folder


def test_tables_of_openface_one_an_image(openface: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o.jsonl"
    done = convert(capsys, out, openface)
    assert "for an OpenFace table (openface)" in done.told
    assert done.lines == [
        {
            "id": "openface-img_a", "dataset": "openface", "image": "of/img_a.PNG", "AUs": ["AU6", "AU12"],
            "AUs_coded": ["AU1", "AU4", "AU6", "AU12", "AU28"], "labels": [],
            "AU_intensities": {"AU1": 0, "AU4": 1.2, "AU6": 1.52, "AU12": 2.31},
            "meta_info": {"source": "openface", "confidence": 0.98},
        }
    ]  # fmt: skip
    assert "  2 x there are several faces in the image (the first: img_b)" in done.told
    assert "  1 x the row does not fit the columns" in done.told
    assert "a unit shows where its column _c is 1" in done.told
    passes(capsys, done, out)


def test_a_threshold_is_said_and_stored(openface: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = convert(capsys, tmp_path / "o.jsonl", "openface", openface / "img_a.csv", "--threshold", 1.2)
    assert done.lines[0]["AUs"] == ["AU4", "AU6", "AU12"]
    assert done.lines[0]["meta_info"] == {"source": "openface", "threshold": 1.2, "confidence": 0.98}
    assert "from intensity 1.2 on (meta_info.threshold)" in done.told


def test_films_are_matched_by_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = "frame, face_id, timestamp, confidence, success, AU12_r, AU12_c"
    rows = ["1, 0, 0.0, 0.9, 1, 3.0, 1", "2, 0, 0.1, 0.0, 0, 0, 0", "3, 0, 0.2, 0.9, 1, 0.0, 0"]
    text(tmp_path / "film.csv", head, *rows)
    picture(tmp_path / "film/frame_000000.jpg")
    picture(tmp_path / "film/frame_000002.jpg")
    out = tmp_path / "o.jsonl"
    done = convert(capsys, out, tmp_path / "film.csv")
    assert [(line["id"], line["image"], line["AUs"]) for line in done.lines] == [
        ("openface-film/1", "film/frame_000000.jpg", ["AU12"]),
        ("openface-film/3", "film/frame_000002.jpg", []),
    ]
    assert "  1 x no face was found (success is 0)" in done.told
    passes(capsys, done, out)


def test_columns_of_openface_3_are_not_taken_at_their_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text(tmp_path / "a.csv", "confidence,AU01_r,AU02_r,AU03_r", "0.9,0,1,0")
    done = convert(capsys, tmp_path / "o.jsonl", tmp_path / "a.csv")
    assert done.code == 2
    assert "has a column 'AU03_r', which is no unit: OpenFace 3 numbers its columns by place" in done.error


def test_probabilities_of_py_feat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = "frame,FaceRectX,FaceScore,AU12,AU01,AU45,anger,happiness,neutral,Pitch,input"
    rows = [
        "0,10,0.99,0.75,0.5,0.1,0.1,0.8,0.1,3.5,C:\\photos\\set\\a.jpg",
        "0,,,,,,,,,,C:\\photos\\set\\b.jpg",
        "0,10,0.99,0.2,,0.1,0.1,0.1,0.8,3.5,C:\\photos\\set\\c.jpg",
        "0,20,0.99,0.2,,0.1,0.1,0.1,0.8,3.5,C:\\photos\\set\\c.jpg",
        "0,20,0.99,0.2,,0.1,,,,3.5,C:\\photos\\set\\d.jpg",
    ]
    text(tmp_path / "fex.csv", head, *rows)
    for name in "abcd":
        picture(tmp_path / f"set/{name}.jpg")
    out = tmp_path / "p.jsonl"
    done = convert(capsys, out, tmp_path / "fex.csv")
    assert "for a Py-Feat table (py-feat)" in done.told
    meta = {"source": "py-feat", "threshold": 0.5}
    assert done.lines == [
        {
            "id": "py-feat-C:\\photos\\set\\a.jpg", "dataset": "py-feat", "image": "set/a.jpg", "AUs": ["AU1", "AU12"],
            "AUs_coded": ["AU1", "AU12", "AU45"], "labels": ["happiness"], "meta_info": meta,
        },
        {
            "id": "py-feat-C:\\photos\\set\\d.jpg", "dataset": "py-feat", "image": "set/d.jpg", "AUs": [],
            "AUs_coded": ["AU12", "AU45"], "labels": [], "meta_info": meta,
        },
    ]  # fmt: skip
    assert "  1 x no face was found (nothing has a value)" in done.told
    assert "  2 x there are several faces in the image" in done.told
    passes(capsys, done, out)


def test_columns_of_libreface_new_and_old(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = "pitch,facial_expression,au_1,au_12,au_1_intensity,au_12_intensity,au_26_intensity,image_path"
    rows = [
        "0,Happiness,0,1,0.0,1.5,2.0,a.jpg",
        "0,Contempt,0,0,0,0,0,b.jpg",
        "0,,,,,,,c.jpg",
        "0,Neutral,0,0,7,0,0,a.jpg",
    ]
    text(tmp_path / "new.csv", head, *rows)
    for name in "abc":
        picture(tmp_path / f"{name}.jpg")
    out = tmp_path / "l.jsonl"
    done = convert(capsys, out, tmp_path / "new.csv")
    assert "for a LibreFace table (libreface)" in done.told
    assert done.lines[0] == {
        "id": "libreface-a.jpg", "dataset": "libreface", "image": "a.jpg", "AUs": ["AU12", "AU26"],
        "AUs_coded": ["AU1", "AU12", "AU26"], "labels": ["happiness"],
        "AU_intensities": {"AU1": 0, "AU12": 1.5, "AU26": 2}, "meta_info": {"source": "libreface", "threshold": 2.0},
    }  # fmt: skip
    assert [line["labels"] for line in done.lines] == [["happiness"], ["contempt"]]
    assert "  1 x no face was found" in done.told
    assert "  1 x '7' is no grade from 0 to 5" in done.told
    passes(capsys, done, out, "--emotions", "basic8")
    text(tmp_path / "c.csv", "frame_idx,AU_12_intensity,facial_expression", "0,3.5,Sadness")
    picture(tmp_path / "c/1.png")
    old = convert(capsys, tmp_path / "old.jsonl", tmp_path / "c.csv")
    assert [(line["image"], line["AUs"], line["labels"]) for line in old.lines] == [("c/1.png", ["AU12"], ["sadness"])]
    assert "rows belong to images by the number of the frame and one" in old.told
