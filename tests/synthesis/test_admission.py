"""Who joins the set: quotas, texts that are like another, and the order that decides."""

from __future__ import annotations

from fea.data.example import Example
from fea.synthesis.admission import Admission, Admitted, Limits


def face(example: Example, label: str, *units: int) -> Example:
    return example._replace(labels=(label,), aus=frozenset(f"AU{number}" for number in units))


def entry(example: Example, text: str = "") -> Admitted:
    return Admitted(example.labels, example.present, text)


def test_a_class_that_is_full_takes_no_more(examples: list[Example]) -> None:
    fear, anger = face(examples[0], "fear", 1), face(examples[0], "anger", 4)
    door = Admission(Limits(emotion=2), [entry(fear)])
    assert door.refusal(entry(fear), fear) is None
    door.add(entry(fear))
    assert door.full(fear)
    assert door.refusal(entry(fear), fear) == "quota"
    assert door.refusal(entry(anger), anger) is None


def test_a_rare_unit_opens_the_door_for_a_common_one(examples: list[Example]) -> None:
    common, both, none = (face(examples[0], "fear", *units) for units in ((1,), (1, 24), ()))
    door = Admission(Limits(unit=1), [entry(common)])
    assert door.full(common)
    assert not door.full(both)
    assert not door.full(none)


def test_a_text_like_another_of_its_class_is_left_out(examples: list[Example]) -> None:
    fear, anger = face(examples[0], "fear", 1), face(examples[0], "anger", 4)
    text = "The inner brows are up (AU1). The eyes are wide open (AU5)."
    door = Admission(Limits(alike=0.9), [entry(fear, text)])
    assert door.refusal(entry(fear, text.replace("wide open", "wide  open")), fear) == "alike"
    assert door.refusal(entry(fear, "The eyes are wide open (AU5). The inner brows are up (AU1)."), fear) == "alike"
    assert door.refusal(entry(fear, "The jaw hangs open (AU26)."), fear) is None
    assert door.refusal(entry(anger, text), anger) is None
    assert Admission(Limits(), [entry(fear, text)]).refusal(entry(fear, text), fear) is None
