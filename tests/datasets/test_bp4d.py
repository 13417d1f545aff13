"""BP4D in its own layout, with the oddities that it has."""

from __future__ import annotations

from itertools import chain, combinations
from pathlib import Path

import pytest
from converting import convert, passes, picture, text

from fea.datasets.bp4d import BP4D


@pytest.fixture
def bp4d(tmp_path: Path) -> Path:
    root = tmp_path / "BP4D"
    head = ",".join(map(str, range(100)))
    rows = [  # frame, AU1, AU2, AU3, AU4, ..., AU12
        "2440,1,0,9,9,9,0,1,9,9,0,9,1",
        "12,0,0,9,0,9,0,0,9,9,0,9,0",
        "13,9,9,9,9,9,9,9,9,9,9,9,9",
        "14,0,0",
        "99,0,0,9,0,9,0,0,9,9,0,9,0",
    ]
    full = [row + ",9" * (99 - row.count(",")) if row.count(",") > 2 else row for row in rows]
    text(root / "AUCoding/AU_OCC/F001_T1.csv", head, *full)
    text(root / "AUCoding/AU_OCC/M014_T8.csv", head, "5" + ",0" * 12 + ",9" * 87)
    text(root / "AUCoding/AU_INT/AU12/F001_T1_AU12.csv", "2440,4", "12,0", "13,9")
    text(root / "AUCoding/AU_INT/AU06/F001_T1_AU06.csv", "2440,9", "12,0")
    picture(root / "Sequences(2D+3D)/F001/T1/2440.jpg")
    picture(root / "Sequences(2D+3D)/F001/T1/012.jpg")
    picture(root / "Sequences(2D+3D)/F001/T1/0013.jpg")
    picture(root / "Sequences(2D+3D)/M014/T8/0005.JPG")
    return root


def test_occurrence_and_grades_come_together(bp4d: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bp4d.jsonl"
    done = convert(capsys, out, "bp4d", bp4d)
    images = "BP4D/Sequences(2D+3D)"
    assert done.lines == [
        {
            "id": "bp4d-F001-T1-2440", "dataset": "BP4D", "image": f"{images}/F001/T1/2440.jpg",
            "AUs": ["AU1", "AU7", "AU12"], "AUs_coded": ["AU1", "AU2", "AU6", "AU7", "AU10", "AU12"], "labels": [],
            "AU_intensities": {"AU12": 4}, "meta_info": {"subject": "F001", "fold": 3, "task": "T1", "frame": 2440},
        },
        {
            "id": "bp4d-F001-T1-0012", "dataset": "BP4D", "image": f"{images}/F001/T1/012.jpg", "AUs": [],
            "AUs_coded": ["AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12"], "labels": [],
            "AU_intensities": {"AU6": 0, "AU12": 0},
            "meta_info": {"subject": "F001", "fold": 3, "task": "T1", "frame": 12},
        },
        {
            "id": "bp4d-M014-T8-0005", "dataset": "BP4D", "image": f"{images}/M014/T8/0005.JPG", "AUs": [],
            "AUs_coded": [f"AU{n}" for n in (1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12)], "labels": [],
            "meta_info": {"subject": "M014", "fold": 3, "task": "T8", "frame": 5},
        },
    ]  # fmt: skip
    assert "left out: 3 rows" in done.told
    for reason in (
        "no unit is coded",
        "the row does not fit the columns",
        "the image is not there (the first: frame 99",
    ):
        assert f"  1 x {reason}" in done.told
    passes(capsys, done, out)
    assert convert(capsys, tmp_path / "again.jsonl", bp4d).told.startswith(f"took '{bp4d}' for BP4D (bp4d)")
    assert (tmp_path / "again.jsonl").read_bytes() == out.read_bytes()


def test_folds_have_nobody_in_common_and_everybody_in_one() -> None:
    assert [len(fold) for fold in BP4D.folds] == [13, 14, 14]
    assert not any(a & b for a, b in combinations(BP4D.folds, 2))
    women, men = [f"F{n:03d}" for n in range(1, 24)], [f"M{n:03d}" for n in range(1, 19)]
    assert set(chain(*BP4D.folds)) == {*women, *men}
    assert [BP4D.fold_of(subject) for subject in ("F004", "M018", "F001", "F024")] == [1, 2, 3, None]


def test_the_wrong_folder_is_one_sentence(bp4d: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = convert(capsys, tmp_path / "a.jsonl", "bp4d", bp4d / "Sequences(2D+3D)")
    assert done.code == 2
    assert "holds no tables such as AUCoding/AU_OCC/F001_T1.csv" in done.error
