"""A drawn face is recalled from its id, and drawn again with one unit more or less."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fea.data.example import Example
from fea.data.table import open_jsonl
from fea.drawn.again import Drawn, recalled
from fea.drawn.drawing import draw_face, possible
from fea.drawn.faces import EMOTIONS, write_faces
from fea.drawn.world import EVEN, SKEWED
from fea.records.record import Rules


def faces(file: Path) -> list[Example]:
    table = open_jsonl(file, file.parent, Rules(EMOTIONS), "raise")
    return [table[row] for row in range(len(table))]


def test_a_face_is_recalled_pixel_by_pixel(examples: list[Example]) -> None:
    for example in examples[:6]:
        drawn = recalled(example)
        assert drawn is not None
        assert set(drawn.grades) == example.present
        assert np.array_equal(draw_face(drawn.grades, drawn.look, drawn.size), np.array(Image.open(example.image)))


def test_people_and_other_worlds_are_recalled_by_what_they_are(tmp_path: Path) -> None:
    of_people = faces(write_faces(tmp_path / "people", 3, seed=8, people=2, text="none"))
    skewed = faces(write_faces(tmp_path / "skewed", 4, seed=8, prior="skewed", text="none"))
    assert all(recalled(example) for example in of_people)
    assert all(recalled(example, SKEWED) for example in skewed)
    assert not all(recalled(example, EVEN) for example in skewed)
    assert all(recalled(example) for example in skewed)


def test_what_is_no_drawn_face_is_not_taken_for_one(examples: list[Example], tmp_path: Path) -> None:
    assert recalled(examples[0]._replace(id="17")) is None
    touched = Image.open(examples[0].image)
    touched.putpixel((5, 5), (1, 2, 3))
    touched.save(tmp_path / "touched.png")
    assert recalled(examples[0]._replace(image=str(tmp_path / "touched.png"))) is None


def test_one_unit_is_taken_away_or_added_and_the_face_stays(examples: list[Example]) -> None:
    for example in examples[:6]:
        drawn = recalled(example)
        assert drawn is not None
        whole = np.array(Image.open(example.image), dtype=int)
        for unit in drawn.removable(drawn.grades):
            rest = drawn.without(unit)
            assert rest is not None
            changed = np.abs(np.array(rest, dtype=int) - whole).sum(axis=2) > 0
            assert 0 < changed.mean() < 0.35  # the unit, and not the picture
    jaw = Drawn({25: 3, 26: 3}, drawn.look, 112)
    assert jaw.removable({25, 26}) == [26]  # no jaw drops behind closed lips
    assert jaw.without(25) is None
    assert jaw.beside(26) is None
    assert jaw.beside(12) is not None
    assert not possible({24, 25})
    assert jaw.beside(24) is None


@pytest.mark.parametrize("meta", ["[]", json.dumps({"subject": "someone"})])
def test_other_facts_about_people_are_no_number(examples: list[Example], meta: str) -> None:
    assert recalled(examples[1]._replace(meta=meta)) is not None
