"""Data sets that FACS coders made, in their own layouts: RAF-AU with RAF-ML, CK+."""

from __future__ import annotations

from pathlib import Path

import pytest
from converting import convert, passes, picture, text


@pytest.fixture
def raf_au(tmp_path: Path) -> Path:
    root = tmp_path / "RAF-AU"
    lines = [
        "0007.jpg 1+L2+4", "8.jpg 12 ", "0010.jpg null", "0011.jpg null", "0012.jpg 25+T10+AD19+R14C+6E+12B+77", "0013.jpg 4 5",
        "0014.jpg 1",
    ]  # fmt: skip
    text(root / "RAFAU_label.txt", *lines)
    for stem in ("0007", "0008", "0010", "0011", "0012"):
        picture(root / f"aligned/{stem}_aligned.jpg")
    return root


def test_tokens_keep_their_sides_and_grades(raf_au: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "raf.jsonl"
    done = convert(capsys, out, raf_au)
    assert "for RAF-AU (raf-au)" in done.told
    image = "RAF-AU/aligned/{}_aligned.jpg"
    assert done.lines == [
        {
            "id": "raf-au-0007", "dataset": "RAF-AU", "image": image.format("0007"), "AUs": ["AU1", "AUL2", "AU4"],
            "labels": [],
        },
        {"id": "raf-au-0008", "dataset": "RAF-AU", "image": image.format("0008"), "AUs": ["AU12"], "labels": []},
        {
            "id": "raf-au-0012", "dataset": "RAF-AU", "image": image.format("0012"),
            "AUs": ["AU6", "AU10", "AU12", "AUR14", "AU19", "AU25"], "labels": [],
            "AU_intensities": {"AU6": 5, "AU12": 2, "AUR14": 3},
        },
    ]  # fmt: skip
    assert "codes that are no Action Unit are left out, such as '77' of 0012" in done.told
    assert "RAF-AU has no emotions; 'distribution.txt' of RAF-ML has those" in done.told
    for count, reason in (
        (2, "nothing is coded (null)"),
        (1, "the line is not such as"),
        (1, "the image is not there"),
    ):
        assert f"  {count} x {reason}" in done.told
    passes(capsys, done, out)


def test_emotions_come_from_raf_ml_by_name(raf_au: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shares = text(
        tmp_path / "RAF-ML/EmoLabel/distribution.txt",
        "0010.jpg 0 0.1 0 0 0.9 0",
        "0007.jpg 0.45 0.45 0 0 0 0.1",
        "0008.jpg 0 0 0 1.0 0 0",
    )
    out = tmp_path / "raf.jsonl"
    done = convert(capsys, out, "raf-au", raf_au, "--second-file", shares)
    assert [(line["id"][-4:], line.get("AUs"), line["labels"]) for line in done.lines] == [
        ("0007", ["AU1", "AUL2", "AU4"], ["surprise", "fear"]),
        ("0008", ["AU12"], ["happiness"]),
        ("0010", None, ["sadness"]),  # nothing coded is nothing known
        ("0012", ["AU6", "AU10", "AU12", "AUR14", "AU19", "AU25"], []),
    ]
    assert done.lines[2]["meta_info"]["emotion_shares"]["sadness"] == 0.9
    passes(capsys, done, out)


@pytest.fixture
def ck(tmp_path: Path) -> Path:
    root = tmp_path / "CK+"
    for stem in ("S005/001/S005_001_00000011", "S010/002/S010_002_00000014", "S010/003/S010_003_00000018"):
        picture(root / f"cohn-kanade-images/{stem}.png")
    picture(root / "cohn-kanade-images/S005/001/S005_001_00000001.png")
    text(
        root / "FACS/S005/001/S005_001_00000011_facs.txt",
        "   9.0000000e+00   4.0000000e+00",
        "   1.7000000e+01   0.0000000e+00",
    )
    text(root / "FACS/S010/002/S010_002_00000014_facs.txt", "   1.2000000e+01   5.0000000e+00")
    text(root / "FACS/S099/001/S099_001_00000009_facs.txt", "   1.2000000e+01   5.0000000e+00")
    text(root / "Emotion/S005/001/S005_001_00000011_emotion.txt", "   3.0000000e+00")
    text(root / "Emotion/S010/003/S010_003_00000018_emotion.txt", "   2.0000000e+00")
    text(root / "Emotion/S010/002/S010_002_00000014_emotion.txt")
    return root


def test_peaks_of_ck_plus(ck: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ck.jsonl"
    done = convert(capsys, out, ck)
    assert "for CK+ (ck+)" in done.told
    image = "CK+/cohn-kanade-images/{}.png"
    assert done.lines == [
        {
            "id": "ck+-S005_001_00000011", "dataset": "CK+", "image": image.format("S005/001/S005_001_00000011"),
            "AUs": ["AU9", "AU17"], "labels": ["disgust"], "AU_intensities": {"AU9": 4},
            "meta_info": {"subject": "S005", "sequence": "001"},
        },
        {
            "id": "ck+-S010_002_00000014", "dataset": "CK+", "image": image.format("S010/002/S010_002_00000014"),
            "AUs": ["AU12"], "labels": [], "AU_intensities": {"AU12": 5}, "meta_info": {"subject": "S010", "sequence": "002"},
        },
        {
            "id": "ck+-S010_003_00000018", "dataset": "CK+", "image": image.format("S010/003/S010_003_00000018"),
            "labels": ["contempt"], "meta_info": {"subject": "S010", "sequence": "003"},
        },
    ]  # fmt: skip
    assert "  1 x the image is not there (the first: S099_001_00000009)" in done.told
    passes(capsys, done, out, "--emotions", "basic8")


def test_the_copy_of_ck_plus_in_folders_keeps_the_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "CK+48/anger/S010_004_00000017.png")
    picture(tmp_path / "CK+48/happy/S011_006_00000011.png")
    done = convert(capsys, tmp_path / "ck.jsonl", tmp_path / "CK+48")
    assert "for CK+ (ck+)" in done.told
    assert [(line["labels"], line["meta_info"]) for line in done.lines] == [
        (["anger"], {"subject": "S010"}),
        (["happiness"], {"subject": "S011"}),
    ]
