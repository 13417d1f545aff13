"""A readout: learned on some people, measured on others, and of units that enough faces show."""

from __future__ import annotations

import numpy as np
import pytest

from fea.datasets.conversion import Face
from fea.errors import FEAError
from fea.faces.blendshapes import NAMES
from fea.faces.learning import Coded, coded, f1, learn, parts

JAW, BROW = NAMES.index("jawOpen"), NAMES.index("browInnerUp")


def some(count: int = 120, people: int = 12, seed: int = 0) -> Coded:
    """Faces of which AU26 follows from the jaw and AU1 from the person, whom the brows give away."""
    chance = np.random.default_rng(seed)
    faces = []
    for number in range(count):
        shapes = np.zeros(len(NAMES))
        person = number % people
        shapes[JAW] = chance.random()
        shapes[BROW] = person / people + 0.01 * chance.random()
        shown = [*["AU26"] * bool(shapes[JAW] > 0.5), *["AU1"] * (person % 2), *["AUL9"] * (number < 3)]
        face = Face(str(number), "", (), tuple(shown), ("AU1", "AU26", "AU9", "AU4"), meta={"subject": f"P{person}"})
        faces.append((face, shapes))
    return coded(faces)


def test_a_unit_is_measured_on_people_it_was_not_learned_from() -> None:
    result = learn(some())
    assert set(result.learned) == {"AU1", "AU26"}
    assert result.learned["AU26"].f1 > 0.9
    # Each person is told by the brows: a readout that has met somebody knows him, and of others it knows nothing.
    assert result.learned["AU1"].f1 < 0.75
    assert result.learned["AU1"].rule == 2 * 50 / (100 + 60)  # above .1 in ten people of twelve
    assert result.learned["AU26"].rule is None
    assert (result.learned["AU26"].shows, result.learned["AU26"].lacks) == (
        int(some().shows[26].sum()),
        120 - int(some().shows[26].sum()),
    )
    assert result.left_out == {"AU4": "0 faces with it and 120 without", "AU9": "3 faces with it and 117 without"}


def test_a_unit_of_one_person_alone_is_left_out() -> None:
    faces = some()
    only = faces.people == 3
    assert only.sum() == 10
    result = learn(faces._replace(shows={**faces.shows, 1: only}))
    assert result.left_out["AU1"] == "too few people show it, or too few do not"


def test_faces_that_nobody_looked_at_for_a_unit_are_no_examples_of_its_absence() -> None:
    faces = some()
    looked = np.arange(120) % 3 > 0
    halved = faces._replace(looked={**faces.looked, 26: looked})
    found = learn(halved).learned["AU26"]
    assert found.shows + found.lacks == 80
    assert found.shows == int((faces.shows[26] & looked).sum())
    flipped = faces.shows[26] ^ ~looked  # what nobody looked for does not matter
    again = learn(halved._replace(shows={**faces.shows, 26: flipped})).learned["AU26"]
    assert (again.weights == found.weights).all()


def test_people_without_a_name_are_people_of_their_own() -> None:
    faces = coded([(Face(str(n), "", AUs=()), np.zeros(52)) for n in range(3)])
    assert faces.people.tolist() == [0, 1, 2]
    assert not faces.named.any()
    same = coded(
        [(Face(str(n), "", AUs=(), meta={"subject": 7}, dataset=name), np.zeros(52)) for n, name in enumerate("aab")]
    )
    assert same.people.tolist() == [0, 0, 1]  # "7" of another data set is somebody else


def test_parts_hold_whole_people_and_are_alike_in_size() -> None:
    people = np.repeat(np.arange(9), [10, 1, 1, 1, 1, 7, 3, 3, 3])
    found = parts(people)
    assert all(len(set(found[people == person])) == 1 for person in range(9))
    assert sorted(np.bincount(found).tolist()) == [4, 4, 5, 7, 10]
    assert set(parts(np.array([4, 4, 2]))) == {0, 1}


def test_too_few_faces_are_refused() -> None:
    with pytest.raises(FEAError, match="no unit has 10 coded faces with it and 10 without"):
        learn(some(12))


def test_f1() -> None:
    assert f1(np.array([True, True, False, False]), np.array([True, False, True, False])) == 0.5
    assert f1(np.array([False]), np.array([False])) == 0
