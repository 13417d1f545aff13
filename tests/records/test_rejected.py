"""The key 'rejected': what a line is preferred to, and one sentence with file and line for whatever it must not be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fea.data.example import Rejected
from fea.data.mixture import Examples
from fea.data.table import Table, open_jsonl
from fea.errors import FEAError
from fea.records.record import Rules, key_of

LINE = {"image": "a.png", "labels": ["anger"], "description": "<think>Brows (AU4).</think><answer>anger</answer>"}
OTHER = {"description": "<think>Brows (AU9).</think><answer>anger</answer>", "image": "b/c.png", "question": "Why AU9?"}


def opened(folder: Path, *lines: dict[str, Any]) -> Table:
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return open_jsonl(file, folder, Rules(("anger", "fear")), "raise")


def test_a_pair_is_read_with_the_path_of_its_image(tmp_path: Path) -> None:
    table = opened(tmp_path, {**LINE, "rejected": OTHER}, LINE, {**LINE, "rejected": {"image": "./b.png"}})
    assert table[0].rejected == Rejected(OTHER["description"], str(tmp_path / "b/c.png"), "Why AU9?")
    assert table[1].rejected is None
    assert table[2].rejected == Rejected(image=str(tmp_path / "b.png"))
    pairs = Examples([table], paired=True)
    assert [pairs[number].place.rpartition(":")[2] for number in range(len(pairs))] == ["1", "3"]
    assert len(pairs.values("rejected")) == 2
    assert not table.summary.warnings


@pytest.mark.parametrize(
    ("rejected", "told"),
    [
        ("worse", r"key 'rejected': expected an object .* found \"worse\""),
        ({}, r"key 'rejected': expected an object"),
        ({"text": "a"}, r"one or several of description, image, question"),
        ({"description": 3}, r"'description' is 3; expected text"),
        ({"question": " "}, r"'question' is \" \"; expected text"),
        ({"image": "../b.png"}, r"leaves the image root"),
        ({"image": "./a.png"}, r"its image is that of the line itself"),
        ({"description": LINE["description"]}, r"its description is that of the line itself"),
    ],
)
def test_what_makes_no_pair_is_told_with_its_line(tmp_path: Path, rejected: Any, told: str) -> None:
    with pytest.raises(FEAError, match=rf"pairs\.jsonl:2: .*{told}"):
        opened(tmp_path, LINE, {**LINE, "rejected": rejected})


def test_nothing_is_preferred_without_a_text(tmp_path: Path) -> None:
    with pytest.raises(FEAError, match=r"pairs\.jsonl:1: .* the line has no description that would be preferred"):
        opened(tmp_path, {"image": "a.png", "rejected": OTHER})


def test_a_pair_whose_rejected_side_changed_is_judged_anew() -> None:
    assert key_of({**LINE, "rejected": OTHER}) != key_of({**LINE, "rejected": {"image": "d.png"}}) != key_of(LINE)


def test_a_mirrored_pair_does_not_speak_of_sides(tmp_path: Path) -> None:
    plain, sided = opened(
        tmp_path, {**LINE, "rejected": OTHER}, {**LINE, "rejected": {"description": "The left brow is low (AU4)."}}
    )
    assert plain.mirror().flipped
    assert not sided.mirror().flipped
