"""DISFA in its own layout, with the oddities that it has."""

from __future__ import annotations

from itertools import chain, combinations
from pathlib import Path

import pytest
from converting import convert, passes, picture, text

from fea.datasets.disfa import DISFA

AUS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
GRADES = {12: (0, 1, 3), 6: (0, 2, 5), 4: (0, 9, 0)}  # by unit, of frames 1, 2 and 3


@pytest.fixture
def disfa(tmp_path: Path) -> Path:
    root = tmp_path / "DISFA"
    for unit in AUS:
        grades = GRADES.get(unit, (0, 0, 0))
        lines = [f"{frame},{grade}" for frame, grade in enumerate(grades, 1)]
        text(root / f"ActionUnit_Labels/SN001/SN001_au{unit}.txt", *lines, end="\r\n")
    for number in (1, 2, 3):
        picture(root / f"frames/LeftVideoSN001_comp/LeftVideoSN001_comp_{number:04d}.png")
        picture(root / f"right/SN001/{number}.PNG")
    return root


def test_frames_of_the_left_camera_get_their_grades(
    disfa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "disfa.jsonl"
    done = convert(capsys, out, "disfa", disfa)
    others = {f"AU{unit}": 0 for unit in AUS}
    image = "DISFA/frames/LeftVideoSN001_comp/LeftVideoSN001_comp_{}.png"
    meta = {"subject": "SN001", "fold": 3}
    coded = [f"AU{unit}" for unit in AUS]
    assert done.lines == [
        {
            "id": "disfa-SN001-0001", "dataset": "DISFA", "image": image.format("0001"), "AUs": [], "AUs_coded": coded,
            "labels": [], "AU_intensities": others, "meta_info": {**meta, "frame": 1, "threshold": 2.0},
        },
        {
            "id": "disfa-SN001-0002", "dataset": "DISFA", "image": image.format("0002"), "AUs": ["AU6"],
            "AUs_coded": [code for code in coded if code != "AU4"], "labels": [],
            "AU_intensities": {c: {"AU12": 1, "AU6": 2}.get(c, 0) for c in coded if c != "AU4"},
            "meta_info": {**meta, "frame": 2, "threshold": 2.0},
        },
        {
            "id": "disfa-SN001-0003", "dataset": "DISFA", "image": image.format("0003"), "AUs": ["AU6", "AU12"],
            "AUs_coded": coded, "labels": [], "AU_intensities": {**others, "AU6": 5, "AU12": 3},
            "meta_info": {**meta, "frame": 3, "threshold": 2.0},
        },
    ]  # fmt: skip
    assert "a unit shows from grade 2 on" in done.told
    assert "several cameras: those of the left one" in done.told
    passes(capsys, done, out)
    assert convert(capsys, tmp_path / "again.jsonl", disfa).told.startswith(f"took '{disfa}' for DISFA (disfa)")
    assert (tmp_path / "again.jsonl").read_bytes() == out.read_bytes()


def test_the_threshold_is_the_users(disfa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = convert(capsys, tmp_path / "a.jsonl", "disfa", disfa, "--threshold", 1)
    assert [line["AUs"] for line in done.lines] == [[], ["AU6", "AU12"], ["AU6", "AU12"]]
    assert {line["meta_info"]["threshold"] for line in done.lines} == {1.0}


def test_frames_that_are_counted_from_zero_are_seen_to_be(
    disfa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        picture(disfa / f"left zero/SN001/{number:05d}.jpg")
    done = convert(capsys, tmp_path / "a.jsonl", "disfa", disfa, "--image_root", disfa / "left zero")
    assert [line["image"][-9:] for line in done.lines] == ["00000.jpg", "00001.jpg", "00002.jpg"]
    assert [line["meta_info"]["frame"] for line in done.lines] == [1, 2, 3]


def test_what_is_left_out_is_counted(disfa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (disfa / "frames/LeftVideoSN001_comp/LeftVideoSN001_comp_0002.png").unlink()
    text(disfa / "ActionUnit_Labels/SN033/SN033_au1.txt", "1,0", "2,0")
    (disfa / "ActionUnit_Labels/SN001/SN001_au26.txt").unlink()
    done = convert(capsys, tmp_path / "a.jsonl", "disfa", disfa)
    assert len(done.lines) == 2
    assert "AU26" not in done.lines[0]["AUs_coded"]
    assert "  2 x the person is in none of the published folds" in done.told
    assert "  1 x the image is not there (the first: frame 2 of SN001)" in done.told
    assert "SN001 has no table of AU26: unknown there" in done.told


def test_films_without_frames_are_told_what_to_do(
    disfa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = convert(capsys, tmp_path / "a.jsonl", "disfa", disfa, "--image_root", disfa / "ActionUnit_Labels")
    assert done.code == 2
    assert "ffmpeg -i LeftVideoSN001_comp.avi" in done.error
    assert "has no folder 'ActionUnit_Labels'" in convert(capsys, tmp_path / "a.jsonl", "disfa", disfa / "right").error


def test_folds_have_nobody_in_common_and_everybody_in_one() -> None:
    assert [len(fold) for fold in DISFA.folds] == [9, 9, 9]
    assert not any(a & b for a, b in combinations(DISFA.folds, 2))
    people = [*range(1, 14), *range(16, 19), 21, *range(23, 33)]
    assert set(chain(*DISFA.folds)) == {f"SN{number:03d}" for number in people}
    assert DISFA.fold_of("SN003") == 1
    assert DISFA.fold_of("SN006") == 2
    assert DISFA.fold_of("SN032") == 3
    assert DISFA.fold_of("SN033") is None


@pytest.fixture
def plus(tmp_path: Path) -> Path:
    root = tmp_path / "DISFA+"
    trials = {
        "SN001/Y_happy_TrialNo_10": ("000", "001"),
        "SN001/Y_happy_TrialNo_2": ("000",),
        "SN027/A1_TrialNo_1": ("000", "007"),
    }
    for trial, frames in trials.items():
        for unit in (*AUS, 7):
            grades = {"000": {12: 3, 6: 2}.get(unit, 0), "001": {12: 1, 4: 9}.get(unit, 0), "007": 0}
            rows = [f"{frame}.jpg \t {grades[frame]}" for frame in frames]
            text(root / f"Labels/{trial}/AU{unit}.txt", "# AU 12 of a trial", "#", *rows, end="\r\n")
        for frame in frames:
            if frame != "007":
                picture(root / f"Images/{trial}/{frame}.jpg")
    return root


def test_trials_of_disfa_plus(plus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plus.jsonl"
    done = convert(capsys, out, plus)
    assert done.told.startswith(f"took '{plus}' for DISFA+ (disfa+)")
    coded = [f"AU{unit}" for unit in AUS]
    smile = {unit: {"AU12": 3, "AU6": 2}.get(unit, 0) for unit in coded}

    def line(trial: str, frame: str) -> dict[str, object]:
        subject, _, name = trial.partition("/")
        return {
            "id": f"disfa+-{subject}-{name}-{frame}", "dataset": "DISFA+", "image": f"DISFA+/Images/{trial}/{frame}.jpg",
            "AUs": ["AU6", "AU12"], "AUs_coded": coded, "labels": [], "AU_intensities": smile,
            "meta_info": {"subject": subject, "trial": name, "frame": frame, "threshold": 2.0},
        }  # fmt: skip

    faint = {**line("SN001/Y_happy_TrialNo_10", "001"), "AUs": [], "AUs_coded": [c for c in coded if c != "AU4"]}
    faint["AU_intensities"] = {unit: int(unit == "AU12") for unit in coded if unit != "AU4"}
    assert done.lines == [
        line("SN001/Y_happy_TrialNo_2", "000"), line("SN001/Y_happy_TrialNo_10", "000"), faint,
        line("SN027/A1_TrialNo_1", "000"),
    ]  # fmt: skip
    assert "  1 x the image is not there (the first: 007 of SN027/A1_TrialNo_1)" in done.told
    passes(capsys, done, out)
    convert(capsys, tmp_path / "again.jsonl", "disfa+", plus)
    assert (tmp_path / "again.jsonl").read_bytes() == out.read_bytes()
    lower = convert(capsys, tmp_path / "low.jsonl", "disfa+", plus, "--threshold", 1)
    assert lower.lines[2]["AUs"] == ["AU12"]
