"""Faces that are near by their labels, and lack a unit."""

from __future__ import annotations

from fea.data.example import Example
from fea.retrieval.near import Neighbors

ALL = frozenset(range(1, 28))


def face(examples: list[Example], units: str, *labels: str, coded: frozenset[int] = ALL, image: str = "") -> Example:
    present = frozenset(f"AU{unit}" for unit in units.split())
    return examples[0]._replace(aus=present, coded=coded, labels=labels, image=image or f"{units} {labels}")


def test_the_nearest_face_that_lacks_a_unit(examples: list[Example]) -> None:
    smile = face(examples, "6 12 25", "happiness")
    pool = [
        smile,
        face(examples, "6 12", "happiness"),  # has the unit
        face(examples, "6 25", "surprise"),  # all else is the same, but for the emotion
        face(examples, "6", "happiness"),
        face(examples, "6 25 26", "happiness"),
        face(examples, "6 25", "happiness", coded=ALL - {12}),  # nobody looked for the unit
        face(examples, "6 25", "happiness", image=smile.image),  # the same picture
        face(examples, "1", "happiness"),
    ]
    neighbors = Neighbors(pool)
    # F1 of 6 and 25: of {6, 25, 26} 4/5, of {6} 2/3, of {1} 0; then the other emotion.
    assert neighbors.nearest(smile, lacking=12, count=9) == [4, 3, 7, 2]
    assert neighbors.nearest(smile, lacking=12) == [4]
    assert neighbors.nearest(smile, count=3) == [5, 1, 4]
    assert neighbors.nearest(smile, lacking=28) == []


def test_units_are_compared_where_both_were_coded(examples: list[Example]) -> None:
    own = face(examples, "1 2", "fear", coded=frozenset({1, 2}))
    pool = [
        face(examples, "1 2 5 26", "fear"),
        face(examples, "1", "fear"),
        face(examples, "", "fear", coded=frozenset({9})),
    ]
    assert Neighbors(pool).nearest(own, count=3) == [0, 1, 2]


def test_of_equally_near_ones_the_earlier(examples: list[Example]) -> None:
    pool = [face(examples, "4", "anger", image=name) for name in "abc"]
    assert Neighbors(pool).nearest(face(examples, "4", image="d"), count=3) == [0, 1, 2]
