"""A round over faces: who is tried, and who is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from fea.data.example import Example
from fea.errors import FEAError
from fea.model.policy import Policy
from fea.model.sampling import Generation
from fea.synthesis.admission import Admitted
from fea.synthesis.journal import Journal
from fea.synthesis.recipe import Pace, Recipe
from fea.synthesis.round import run
from fea.synthesis.tried import read_tried

ORIGIN = {"round": 1, "seed": 0, "base": "tiny", "model": "m", "prompt": "1"}


def nobody(*_: Any) -> NoReturn:
    raise AssertionError("a face was tried")


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_faces_of_which_there_are_enough_are_not_tried(
    tmp_path: Path, make_policy: Callable[..., Policy], examples: list[Example], batch_size: int
) -> None:
    """Not even the one that other processes would write about while these wait."""
    faces = [example._replace(analysis=None) for example in examples[:5]]
    earlier = [Admitted(face.labels, face.present, "text") for face in faces]
    recipe = Recipe(attempts=1, samples=1, quota_emotion=1)
    journal = Journal(tmp_path / "s.jsonl", {}, Path(faces[0].image).parent, ORIGIN)
    run(make_policy(), faces, journal, recipe, Generation(4), Pace(batch_size), earlier, judge=nobody)
    _, tried = read_tried(tmp_path / "s.jsonl")
    assert [entry.id for entry in tried] == [face.id for face in faces]
    assert {(entry.attempts, entry.refused) for entry in tried} == {(0, "quota")}


def test_without_an_image_that_can_be_read_there_is_nothing_to_do(
    tmp_path: Path, make_policy: Callable[..., Policy], examples: list[Example]
) -> None:
    faces = [example._replace(image=str(tmp_path / "none.png")) for example in examples[:2]]
    journal = Journal(tmp_path / "s.jsonl", {}, tmp_path, ORIGIN)
    with pytest.raises(FEAError, match=r"none of 2 images can be read, the first is '.*none\.png'"):
        run(make_policy(), faces, journal, Recipe(), Generation(4), Pace(2))
