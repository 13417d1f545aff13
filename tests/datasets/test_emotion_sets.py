"""Data sets of emotions in their own layouts: AffectNet, FER2013, FER+; none of them claims an Action Unit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from converting import convert, passes, picture, text
from PIL import Image

HEAD = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
ROWS = [
    "1/a.jpg,0,0,50,50,1.5;2.5;3,0,0.1,-0.2",
    "2\\b.JPG,0,0,50,50,1;2;3,7,-2,-2",
    "1/c.jpg,0,0,50,50,1;2;3,8,0,0",
    "1/d.jpg,0,0,50,50,1;2;3,10,-2,-2",
    "1/e.jpg,0,0,-1,50,1;2;3,1,0,0",
    "1/f.jpg,0,0,50,50,1;2;3,1,0,0",
    "1/g.jpg,0,0,50",
]


@pytest.mark.parametrize("headed", [True, False])
def test_the_lists_of_affectnet(tmp_path: Path, headed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "AffectNet"
    for name in ("1/a.jpg", "2/b.jpg", "1/c.jpg", "1/e.jpg", "3/v.jpg"):
        picture(root / "Manually_Annotated_Images" / name)
    text(root / "Manually_Annotated_file_lists/training.csv", *[HEAD] * headed, *ROWS)
    text(root / "Manually_Annotated_file_lists/validation.csv", HEAD, "3/v.jpg,0,0,50,50,1;2,5,0.5,0.25")
    out = tmp_path / "a.jsonl"
    done = convert(capsys, out, root)
    base = {"dataset": "AffectNet"}
    images = "AffectNet/Manually_Annotated_Images"
    assert done.lines == [
        {
            "id": "affectnet-1/a", **base, "image": f"{images}/1/a.jpg", "labels": ["neutral"], "valence": 0.1, "arousal": -0.2,
            "meta_info": {"split": "train"},
        },
        {
            "id": "affectnet-2/b", **base, "image": f"{images}/2/b.jpg", "labels": ["contempt"],
            "meta_info": {"split": "train"},
        },
        {
            "id": "affectnet-3/v", **base, "image": f"{images}/3/v.jpg", "labels": ["disgust"], "valence": 0.5, "arousal": 0.25,
            "meta_info": {"split": "val"},
        },
    ]  # fmt: skip
    reasons = ["the emotion is 'none' (8)", "there is no face (10)", "the box of the face has no width"]
    for reason in [*reasons, "the image is not there", "the row does not fit the columns"]:
        assert f"  1 x {reason}" in done.told
    assert f"next: fea data check '{out}' --emotions basic8" in done.told
    passes(capsys, done, out, "--emotions", "basic8")


def test_the_arrays_of_affectnet_may_hold_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "affectnet"
    for split, stem, values in (
        ("train_set", "10", ("3", "0.5", "-0.25")),
        ("train_set", "9", (1, -2.0, -2.0)),
        ("val_set", "1", (8, 0.0, 0.0)),
        ("train_set", "11", (2, 0.0, 0.0)),
    ):
        picture(root / split / "images" / f"{stem}.jpg")
        folder = root / split / "annotations"
        folder.mkdir(exist_ok=True)
        for name, value in zip(("exp", "val", "aro"), values, strict=True):
            np.save(folder / f"{stem}_{name}.npy", np.array(value))
    np.save(root / "train_set/annotations/11_exp.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    out = tmp_path / "a.jsonl"
    done = convert(capsys, out, root)
    assert "for AffectNet (affectnet)" in done.told
    assert [(line["id"], line["labels"], line.get("valence"), line.get("arousal")) for line in done.lines] == [
        ("affectnet-train_set-9", ["happiness"], None, None),
        ("affectnet-train_set-10", ["surprise"], 0.5, -0.25),
    ]
    assert "'' is none of the codes 0 to 10" in done.told  # a pickle is not opened
    passes(capsys, done, out)


def test_copies_of_affectnet_in_folders_count_from_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(8):
        picture(tmp_path / f"copy/train/{number}/x{number}.png")
    done = convert(capsys, tmp_path / "a.jsonl", tmp_path / "copy")
    assert "for AffectNet (affectnet)" in done.told
    assert [line["labels"][0] for line in done.lines] == [
        *("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
    ]


def pixels(gray: int) -> str:
    return " ".join([str(gray)] * 2304)


@pytest.fixture
def fer2013(tmp_path: Path) -> Path:
    rows = [f"3,{pixels(10)},Training", f'0,"{pixels(20)}",PublicTest', f"6,{pixels(30)},PrivateTest"]
    bad = [
        f"9,{pixels(1)},Training",
        f"1,{pixels(1)} 5,Training",
        f"1,{pixels(1)[:-1]}x,Training",
        f"1,{pixels(256)},Training",
        f",{pixels(1)},Training",
    ]
    return text(tmp_path / "fer2013.csv", "emotion,pixels,Usage", *rows, *bad, end="\r\n")


def test_the_pixels_of_fer2013_become_images(fer2013: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out" / "fer.jsonl"
    done = convert(capsys, out, fer2013)
    assert done.lines == [
        {
            "id": f"fer2013-0000{n + 1}", "dataset": "FER2013", "image": f"fer_images/00000{n}.png", "labels": [label],
            "meta_info": {"split": split},
        }
        for n, (label, split) in enumerate((("happiness", "train"), ("anger", "val"), ("neutral", "test")))
    ]  # fmt: skip
    with Image.open(out.parent / done.lines[1]["image"]) as image:
        assert (image.size, image.mode, image.getpixel((47, 47))) == ((48, 48), "L", 20)
    assert "  3 x there are not 2304 pixels from 0 to 255" in done.told
    assert "  1 x '9' is none of the codes 0 to 6" in done.told
    assert "  1 x '' is none of the codes 0 to 6" in done.told
    passes(capsys, done, out)
    assert sorted(path.name for path in out.parent.iterdir()) == ["fer.jsonl", "fer_images"]
    again = tmp_path / "again" / "fer.jsonl"
    convert(capsys, again, "fer2013", fer2013)
    assert again.read_bytes() == out.read_bytes()
    assert (again.parent / "fer_images/000002.png").read_bytes() == (out.parent / "fer_images/000002.png").read_bytes()


def test_fer2013_in_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "fer"
    for name in ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"):
        picture(root / "train" / name / "Training_10.jpg")
        picture(root / "train" / name / "Training_2.jpg")
    picture(root / "test/sad/PublicTest_7.PNG")
    out = tmp_path / "fer.jsonl"
    done = convert(capsys, out, root)
    assert "for FER2013 (fer2013)" in done.told
    assert len(done.lines) == 15
    assert done.lines[0] == {
        "id": "fer2013-test/sad/PublicTest_7.PNG", "dataset": "FER2013", "image": "fer/test/sad/PublicTest_7.PNG",
        "labels": ["sadness"], "meta_info": {"split": "test"},
    }  # fmt: skip
    assert [line["image"] for line in done.lines[1:3]] == [f"fer/train/angry/Training_{n}.jpg" for n in (2, 10)]
    passes(capsys, done, out)


def test_votes_of_ferplus(fer2013: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        "Training,fer0000000.png,0,9,1,0,0,0,0,0,0,0",
        "PublicTest,fer0000001.png,4,0,0,0,4,0,0,2,0,0",
        "PrivateTest,,0,0,0,0,0,0,0,0,0,10",
        "Training,fer0000003.png,1,0,0,0,0,0,0,0,9,0",
        "Training,fer0000004.png,0,0,0,0,0,0,0,0,0,0",
        "PrivateTest,fer0000005.png,9,0,0,0,0,0,0,1,0,0",
    ]
    table = text(
        tmp_path / "FERPlus" / "fer2013new.csv",
        "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF",
        *rows,
    )
    out = tmp_path / "plus.jsonl"
    done = convert(capsys, out, table, "--second-file", fer2013)
    assert "for the table of FER+ (ferplus)" in done.told or "for FER+ (ferplus)" in done.told
    assert done.lines == [
        {
            "id": "ferplus-00001", "dataset": "FERPlus", "image": "plus_images/000000.png", "labels": ["happiness"],
            "meta_info": {"split": "train", "votes": {"happiness": 9, "surprise": 1}},
        },
        {
            "id": "ferplus-00002", "dataset": "FERPlus", "image": "plus_images/000001.png", "labels": ["neutral", "anger"],
            "meta_info": {"split": "val", "votes": {"neutral": 4, "anger": 4, "contempt": 2}},
        },
    ]  # fmt: skip
    for reason in ("most coders saw no face (NF)", "the coders could not tell (unknown)", "there are no votes"):
        assert f"  1 x {reason}" in done.told
    assert "  1 x the image is not there (the first: row 6 of" in done.told  # its pixels are damaged
    passes(capsys, done, out)
    picture(table.parent / "FER2013Valid/fer0000001.png")
    named = convert(capsys, tmp_path / "named.jsonl", "ferplus", table.parent)
    assert [line["image"] for line in named.lines] == ["FERPlus/FER2013Valid/fer0000001.png"]


def test_ck_plus_as_a_table_has_the_codes_of_fer2013(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        f"0,{pixels(10)},Training",
        f"7,{pixels(20)},PublicTest",
        f"6,{pixels(30)},PrivateTest",
        f"8,{pixels(30)},Training",
    ]
    table = text(tmp_path / "ckextended.csv", "emotion,pixels,Usage", *rows)
    out = tmp_path / "ck.jsonl"
    done = convert(capsys, out, table)
    assert "for CK+ (ck+)" in done.told
    assert done.lines == [
        {
            "id": f"ck+-0000{n + 1}", "dataset": "CK+", "image": f"ck_images/00000{n}.png", "labels": [label],
            "meta_info": {"split": split},
        }
        for n, (label, split) in enumerate((("anger", "train"), ("contempt", "val"), ("neutral", "test")))
    ]  # fmt: skip
    assert "  1 x '8' is none of the codes 0 to 7" in done.told
    assert "note: this copy of CK+ does not say who is who" in done.told
    passes(capsys, done, out, "--emotions", "basic8")
    again = convert(capsys, tmp_path / "again/ck.jsonl", "ck+", table)
    assert again.lines == done.lines


@pytest.mark.parametrize("beside", [True, False])
def test_votes_of_ferplus_without_names(beside: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = '"(0, 0, 48, 48)"'
    first = ["fer0000000.png", "fer0000001.png", "fer0000009.png"]
    start = [f"{name},{box}" for name in first] if beside else [f"Training,{name}" for name in first]
    rows = [f"{start[0]},0,9,1,0,0,0,0,0,0,0", f"{start[1]},1,0,0,0,0,0,0,0,9,0", f"{start[2]},1,0,0,0,0,0,0,0,0,0"]
    root = tmp_path / "FERPlus"
    table = text(root / ("FER2013Train/label.csv" if beside else "fer2013new.csv"), *rows)
    picture(root / "FER2013Train/fer0000000.png")
    out = tmp_path / "plus.jsonl"
    done = convert(capsys, out, table)
    assert "(ferplus)" in done.told
    assert done.lines == [
        {
            "id": "ferplus-00001", "dataset": "FERPlus", "image": "FERPlus/FER2013Train/fer0000000.png",
            "labels": ["happiness"], "meta_info": {"split": "train", "votes": {"happiness": 9, "surprise": 1}},
        }
    ]  # fmt: skip
    assert "  1 x the coders could not tell (unknown)" in done.told
    assert "  1 x the image is not there" in done.told
    passes(capsys, done, out)
