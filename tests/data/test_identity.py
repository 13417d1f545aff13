"""Data that a run would not go on with are told apart by what they say, not by their file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fea.data.identity import changed, identity
from fea.data.table import Table, open_jsonl
from fea.drawn.faces import EMOTIONS
from fea.records.record import Rules

Lines = list[dict[str, Any]]


@pytest.fixture
def table(faces_file: Path, tmp_path: Path) -> Callable[..., Table]:
    """Opens the drawn faces after their lines have been changed."""
    lines = [json.loads(line) for line in faces_file.read_text().splitlines()]

    def opened(change: Callable[[Lines], Any] = lambda _: None, emotions: tuple[str, ...] = EMOTIONS) -> Table:
        own: Lines = json.loads(json.dumps(lines))
        change(own)
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in own))
        return open_jsonl(file, faces_file.parent, Rules(emotions, "raise", True), "raise")

    return opened


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: lines.reverse(), "holds its faces in another order"),
        (lambda lines: lines[3].update(id="x"), "holds other faces"),
        (lambda lines: lines.pop(), "holds other faces"),
        (lambda lines: lines[3].update(labels=[]), "has other labels"),
        (lambda lines: lines[3].update(AUs=["AU1", "AU26", "AU43"]), "has other labels"),
        (lambda lines: lines[3].update(valence=0.25), "has other labels"),
        (lambda lines: lines[3].update(description="Wide eyes."), "has other analyses"),
        (lambda lines: lines[3].update(question="Why?"), "has other questions"),
        (lambda lines: lines[3].update(image=lines[4]["image"]), "names other images"),
        (lambda lines: lines[3].update(meta_info={"by": "me"}), ""),
        (lambda lines: None, ""),
    ],
)  # fmt: skip
def test_a_change_of_what_is_trained_on_is_told(
    table: Callable[..., Table], change: Callable[[Lines], Any], told: str
) -> None:
    assert changed(identity([table()]), identity([table(change)])) == told


def test_weights_and_emotions_of_the_files_count(table: Callable[..., Table]) -> None:
    weighed = table()
    weighed.weight = 2.0
    for other in ([weighed], [table(emotions=(*EMOTIONS, "awe"))]):
        assert changed(identity([table()]), identity(other)).startswith("weighs its files otherwise")


def test_no_data_is_no_other_data() -> None:
    assert changed(identity([]), identity([])) == ""
