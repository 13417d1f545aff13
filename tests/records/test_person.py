"""One rule for who a face shows, wherever it is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fea.cli import main
from fea.data.overlap import people_in
from fea.records.person import person


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("S001", "S001"), (" S001\t", "S001"), ("Anna  B", "Anna B"), (0, "0"), (7.0, "7"), (7.5, "7.5"), ("0", "0"),
        (None, ""), ("", ""), ("  ", ""), ("nan", ""), (float("nan"), ""), ("N/A", ""), (True, ""),
    ],
)  # fmt: skip
def test_a_name_is_read_from_what_tables_write(subject: Any, name: str) -> None:
    assert person(subject) == name


def test_the_same_person_is_found_however_a_name_is_written() -> None:
    rows = [
        ("mine", json.dumps({"subject": value}), str(line))
        for line, value in enumerate(["7", 7, 7.0, " 7 ", "nan", None])
    ]
    assert people_in(rows) == {("mine", "7"): "0"}


def test_faces_of_nobody_are_not_one_person_in_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Person 0 is somebody, and "nan" is nobody, so that each such face is a person of its own."""
    subjects = [0] * 6 + ["nan"] * 10
    file, out = tmp_path / "own.jsonl", tmp_path / "folds.jsonl"
    lines = [
        {"id": str(n), "image": f"{n}.png", "labels": [["fear", "joy"][n % 2]], "meta_info": {"subject": subject}}
        for n, subject in enumerate(subjects)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["data", "folds", str(file), "-o", str(out), "--count", "2"]) == 0
    folds = [json.loads(line)["meta_info"]["fold"] for line in out.read_text().splitlines()]
    assert len(set(folds[:6])) == 1
    assert set(folds[6:]) == {1, 2}
    assert "10 lines name no subject" in capsys.readouterr().out
