"""What is accepted, and what a rejection says."""

from __future__ import annotations

from typing import Any

import pytest

from fea.data.example import Example
from fea.errors import FEAError
from fea.facs import ACTION_UNITS, EMOTION_SETS
from fea.prompts.answer import parse, render
from fea.prompts.prompt import example_analysis
from fea.synthesis.checks import _WORDS, failures, hint, revelation
from fea.synthesis.recipe import Checks

EMOTIONS = EMOTION_SETS["basic7"]
GOOD = "The cheeks are up (AU6). The mouth corners are pulled back (AU12). This points to happiness."


def face(aus: set[str] | None, labels: tuple[str, ...] = ("happiness",), coded: set[int] | None = None) -> Example:
    known = frozenset({1, 4, 6, 12, 15, 25} if coded is None else coded)
    present = None if aus is None else frozenset(aus)
    return Example("1", "d", "1.png", "f:1", "", present, known, labels, EMOTIONS, None, {}, None, None, "{}")


SMILE = face({"AU6", "AU12"})


def failed(think: str, answer: str = "happiness", example: Example = SMILE, **checks: Any) -> list[str]:
    return list(failures(parse(render(think, answer), EMOTIONS), example, Checks(**checks)))


def test_a_good_analysis_passes() -> None:
    assert failed(GOOD) == []
    assert failed(GOOD, "Happy.") == []  # a synonym


@pytest.mark.parametrize(
    ("think", "answer", "reasons"),
    [
        (GOOD, "anger", ["emotion"]),
        (GOOD, "", ["format", "emotion"]),
        ("The cheeks are up (AU6). That is all there is to see.", "happiness", ["missed"]),
        (GOOD + " The brows are low (AU4). The lips part (AU25).", "happiness", ["invented"]),
        ("The brows are low and together (AU4), the lips part (AU25).", "happiness", ["missed", "invented"]),
        (GOOD + " There is no AU4 in the brows.", "happiness", ["supposed"]),
        (GOOD + " Maybe the brows are low (AU4).", "happiness", ["supposed"]),
        ("I see AU6 and I see AU12, which is quite something.", "happiness", ["region"]),
        ("Up (AU6), AU12", "happiness", ["region", "length"]),
        (GOOD + " And so on, and so on." * 300, "happiness", ["length", "repeated"]),
        (GOOD + " The cheeks are up (AU6).", "happiness", ["repeated"]),
    ],
)
def test_each_check_finds_its_fault(think: str, answer: str, reasons: list[str]) -> None:
    assert failed(think, answer) == reasons


def test_text_outside_the_blocks_is_a_fault_of_format() -> None:
    answer = parse("Well. " + render(GOOD, "happiness"), EMOTIONS)
    assert failures(answer, SMILE, Checks()) == ["format"]


def test_each_check_of_the_text_can_be_turned_off() -> None:
    assert failed(GOOD + " Maybe the brows are low (AU4).", plain=False) == []
    assert failed("I see AU6 and I see AU12, which is quite something.", regions=False) == []
    assert failed("AU6 cheek, AU12 mouth", shortest=0) == []
    assert failed(GOOD + " The cheeks are up (AU6).", repeated=False) == []


def test_tau_says_how_many_units_have_to_be_right() -> None:
    """Two right of three claimed, none missed: F1 0.8."""
    third = GOOD + " The lips part (AU25)."
    assert failed(third, tau=0.8) == []
    assert failed(third, tau=1.0) == ["invented"]
    with pytest.raises(FEAError, match=r"checks.tau: 1.5; an F1 lies between 0 and 1"):
        Checks(tau=1.5)


def test_what_is_unknown_is_not_checked() -> None:
    nobody_looked = face(None, coded=set())
    assert failed("The brows are low and together (AU4).", "happiness", nobody_looked) == []
    assert failed(GOOD, "anger", face({"AU6", "AU12"}, labels=())) == []
    assert failed(GOOD + " The nose is wrinkled (AU9).") == []  # AU9 was not coded


def test_without_a_label_the_emotion_is_still_one_of_those_asked_for() -> None:
    assert failed(GOOD, "schadenfreude", face({"AU6", "AU12"}, labels=())) == ["emotion"]


def test_the_worked_example_is_not_an_analysis() -> None:
    sad = face({"AU1", "AU4", "AU15"}, ("sadness",))
    assert failed(example_analysis(), "sadness", sad) == ["copied"]
    assert failed(example_analysis(), "sadness", sad, copied=False) == []


def test_every_unit_has_words_for_its_region() -> None:
    assert {unit.region for unit in ACTION_UNITS.values()} <= _WORDS.keys()


def test_a_hint_tells_the_kind_of_fault_and_nothing_of_the_labels() -> None:
    assert hint(["missed", "emotion"]) == (
        "An earlier attempt was rejected: it missed Action Units, and its emotion was wrong."
    )
    for reason in ("format", "emotion", "missed", "invented", "supposed", "region", "length", "copied", "repeated"):
        assert not {"AU", "happiness"} & set(hint([reason]).split())  # type: ignore[list-item]


def test_a_revelation_tells_what_is_known() -> None:
    assert revelation(SMILE) == "The labels are the Action Units AU6, AU12 and the emotion happiness."
    assert revelation(face(set())) == "The labels are the Action Units none and the emotion happiness."
    assert revelation(face(None, coded=set())) == "The labels are the emotion happiness."
