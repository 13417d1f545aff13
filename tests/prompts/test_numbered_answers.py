"""Numbers beside words: what is read of an answer, what is not, what is asked for, and what is taught."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from fea.data.example import Example
from fea.errors import FEAError
from fea.evaluation.numbers import told_affect, told_grades
from fea.facs import EMOTION_SETS, compound_parts
from fea.model.checkpoints import Stored
from fea.model.config import Numbered, PolicyConfig
from fea.model.policy import Policy
from fea.prompts.answer import FORMS, parse, render
from fea.prompts.numbered import numbered
from fea.prompts.numbers import NUMBERS, letter_of, read_affect, written_affect
from fea.prompts.prompt import Knowledge, system_prompt
from fea.rollouts.rollout import parse_all

BASIC, COMPOUND = EMOTION_SETS["basic7"], EMOTION_SETS["compound11"]


@pytest.mark.parametrize(
    ("content", "emotion", "valence", "arousal"),
    [
        ("happiness; valence 0.7; arousal 0.3", "happiness", 0.7, 0.3),
        ("Happy, valence: +0.7, arousal: -.25", "happiness", 0.7, -0.25),
        ("joy, V=0,7, A=0,3", "happiness", 0.7, 0.3),
        ("fear (valence -60%, arousal 80 %)", "fear", -0.6, 0.8),
        ('{"emotion": "fear", "valence": -0.6, "arousal": .8}', "fear", -0.6, 0.8),
        ("fear; **valence**: \u22120.6; arousal = 1", "fear", -0.6, 1.0),
        ("fear; valence is minus 0.6; arousal of about 0.2.", "fear", -0.6, 0.2),
        ("arousal 0.1\nvalence [0.2]\nfear", "fear", 0.2, 0.1),
        ("fear; valence 0,arousal 1", "fear", 0.0, 1.0),
        ("fear; valence score: 0.5; arousal level 0.4", "fear", 0.5, 0.4),
        ("fear; valence \uff10.\uff15; arousal 0.4", "fear", 0.5, 0.4),
        ("fear; valence 1.2; arousal -1.01", "fear", None, None),
        ("fear; valence 250%; arousal 12", "fear", None, None),
        ("fear; valence 0.1; valence 0.3; arousal 0.2, arousal 0.2", "fear", None, 0.2),
        ("fear; valence 7/10; arousal 0.1-0.3", "fear", None, None),
        ("fear; valence 1e-1; arousal 0.3.1", "fear", None, None),
        ("fear; valence 5 out of 10; arousal 0.1 to 0.4", "fear", None, None),
        ("fear; valence: neutral; arousal high", "fear", None, None),
        ("fear; valence; arousal", "fear", None, None),
        ("a 0.5 fear", "fear", None, None),
        ("grumpy; valence 0.3", "grumpy", 0.3, None),
        ("valence 0.3; arousal 0.1", None, 0.3, 0.1),
        ("fear", "fear", None, None),
    ],
)
def test_numbers_are_read_in_many_spellings(
    content: str, emotion: str | None, valence: float | None, arousal: float | None
) -> None:
    answer = parse(f"<think>Brows up (AU1C).</think><answer>{content}</answer>", BASIC, numbers=NUMBERS)
    assert (answer.emotion, answer.valence, answer.arousal) == (emotion, valence, arousal)
    assert answer.well_formed == (None not in (valence, arousal))
    assert told_affect(answer) == {"valence": valence or 0.0, "arousal": arousal or 0.0}  # the middle of the range


def test_what_was_not_asked_for_is_no_part_of_the_form() -> None:
    text = "<think>Brows up (AU1).</think><answer>fear</answer>"
    assert [parse(text, BASIC, numbers=n).well_formed for n in ((), ("intensity",), ("valence",))] == [
        True,
        False,
        False,
    ]
    assert told_affect(parse(text, BASIC)) == told_grades(parse(text, BASIC), frozenset({1, 4})) == {}
    asked = parse(text, BASIC, numbers=("valence", "intensity"))
    assert told_affect(asked) == {"valence": 0.0}
    assert told_grades(asked, frozenset({1, 4})) == {1: 3.0, 4: 0.0}
    assert told_grades(parse(text.replace("AU1", "AU1E"), BASIC), frozenset({1, 4})) == {1: 5.0, 4: 0.0}


def test_two_answers_have_to_agree() -> None:
    one, two = "<answer>fear; valence 0.2</answer>", "<answer>fear; valence 0.4</answer>"
    assert parse(one + one, BASIC).valence == 0.2
    assert (parse(one + two, BASIC).valence, parse(one + two, BASIC).emotion) == (None, "fear")
    assert parse("The face shows fear, valence -0.4.", BASIC, lenient=True).valence == -0.4


def test_rubbish_never_crashes_and_is_in_range() -> None:
    chance = random.Random(0)
    parts = [
        *("<think>", "</think>", "<answer>", "</answer>", "AU12", "AU6C", "fear", "valence", "arousal", "V=", "A:"),
        *(
            "0.7",
            "-",
            "+",
            ",",
            "%",
            ".",
            "1e9",
            "\u2212",
            "9" * 400,
            "\ud800",
            "\x1e",
            "nan",
            "inf",
            " ",
            "\n",
            "/",
            "to",
        ),
        *("\u0663", "\u00bd", "minus", "(", "[", "happily surprised"),
    ]
    for _ in range(3000):
        text = "".join(chance.choices(parts, k=chance.randrange(14)))
        answer = parse(text, BASIC, lenient=chance.random() < 0.5, form=chance.choice(FORMS), numbers=NUMBERS)
        assert all(-1 <= value <= 1 for value in told_affect(answer).values())
        assert set(told_affect(answer)) == {"valence", "arousal"}
        assert all(0 <= grade <= 5 for grade in told_grades(answer, frozenset({6, 12})).values())


@pytest.mark.parametrize("value", [-1.0, -0.96, -0.04, 0.0, 0.3, 0.25, 1.0])
def test_what_is_written_is_read(value: float) -> None:
    text = written_affect("sadness", {"valence": value, "arousal": -value})
    assert "-0.0" not in text
    assert read_affect(text) == (
        {"valence": pytest.approx(value, abs=0.0501), "arousal": pytest.approx(-value, abs=0.0501)},
        "sadness",
    )
    assert [letter_of(grade) for grade in (0, 0.4, 0.5, 1, 2.2, 2.5, 4.9, 5)] == [
        *("", "", "A", "A"),
        *("B", "C", "E", "E"),
    ]


@pytest.mark.parametrize("knowledge", ["full", "brief"])
@pytest.mark.parametrize("form", FORMS)
def test_each_number_is_asked_for_by_name(knowledge: Knowledge, form: str) -> None:
    plain = system_prompt(knowledge, form)  # type: ignore[arg-type]
    for name in NUMBERS:
        prompt = system_prompt(knowledge, form, (name,))  # type: ignore[arg-type]
        assert (prompt == plain) == (name == "intensity" and form == "only")
        assert [other for other in ("valence", "arousal") if other in prompt] == [name] * (name != "intensity")
    if knowledge == "full":
        example = system_prompt(knowledge, form, NUMBERS).rpartition("Example:\n")[2]  # type: ignore[arg-type]
        assert parse(example, BASIC, form=form, numbers=NUMBERS).well_formed  # type: ignore[arg-type]


def test_analyses_get_the_numbers_of_the_labels_and_keep_their_own() -> None:
    text = render("Cheeks up (AU6), a smile (AU12D), no frown (AU4), jaw down (AU26).", "happiness")
    grades, affect = {6: 2.0, 12: 1.0, 26: 0.0}, {"valence": 0.66, "arousal": 0.31}
    full = numbered(text, NUMBERS, grades, affect)  # type: ignore[arg-type]
    told = "Cheeks up (AU6B), a smile (AU12D), no frown (AU4), jaw down (AU26)."
    assert full == render(told, "happiness; valence 0.7; arousal 0.3")
    assert numbered(full, NUMBERS, {6: 5.0}, {"valence": -1.0, "arousal": -1.0}) == full
    assert numbered(text, (), grades, affect) == text  # type: ignore[arg-type]
    assert numbered(text, ("arousal",), grades, {"valence": 0.1}) == text
    assert numbered("AU6: happiness", NUMBERS, grades, affect) == "AU6: happiness"  # type: ignore[arg-type]
    first = render("AU6", "happiness", "first")
    assert numbered(first, ("valence",), {}, {"valence": 1.0}, "first") == render(
        "AU6", "happiness; valence 1.0", "first"
    )


def test_a_policy_asks_is_taught_and_says_so_in_its_checkpoint(
    make_policy: Callable[..., Policy], examples: list[Example], tmp_path: Path
) -> None:
    face = next(one for one in examples if one.present)._replace(valence=0.66, arousal=-0.2)
    policy = make_policy(answer=Numbered("first", ["intensity", "valence", "arousal"]))
    prompt = policy.encoder(face, with_target=True)
    assert prompt.numbers == policy.encoder.ask(prompt, "Which?").numbers == NUMBERS
    decode = policy.network.tokenizer.decode
    assert system_prompt("brief", "first", NUMBERS) in decode(prompt.ids)
    taught = parse_all([decode(prompt.target[:-1])], [prompt])[0]
    assert (taught.well_formed, taught.valence, taught.arousal) == (True, 0.7, -0.2)
    assert {mention.number: told_grades(taught, face.coded)[mention.number] for mention in taught.mentions} == {
        int(code.removeprefix("AU")): grade for code, grade in face.intensities.items()
    }
    quick = policy.encoder(face._replace(form="only"), with_target=True)
    assert quick.numbers == ("valence", "arousal")
    assert decode(quick.target[:-1]) == f"<answer>{face.labels[0]}; valence 0.7; arousal -0.2</answer>"
    told = Stored(policy.config, BASIC, frozenset(), "SFTModule")
    again = Stored.of({"fea": told.plain()})
    assert (again.policy.form, again.policy.numbers, again.forms) == ("first", NUMBERS, frozenset())
    assert again.policy == policy.config
    assert PolicyConfig(answer=Numbered(numbers=[])).answer == "after_thinking"
    for wrong in ({"form": "last"}, {"numbers": ["pain"]}):
        with pytest.raises(FEAError, match=r"policy\.answer\.(form|numbers): there is no"):
            Numbered(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "emotion"),
    [
        ("happily surprised", "happily surprised"),
        ("Happily-surprised.", "happily surprised"),
        ("happiness and surprise", "happily surprised"),
        ("surprised, happy", "happily surprised"),
        ("fearful; angry; valence -0.5", "fearfully angry"),
        ("happiness and anger", None),
        ("anger, fear, disgust", None),
        ("happiness", "happiness"),
    ],
)
def test_compound_emotions_are_named_by_their_parts_too(content: str, emotion: str | None) -> None:
    assert parse(f"<think>AU1</think><answer>{content}</answer>", COMPOUND).emotion == emotion
    pairs = {compound_parts(word) for word in COMPOUND}
    assert len(pairs) == len(COMPOUND)
    assert {len(pair) for pair in pairs} == {2}
    assert parse(f"<answer>{content}</answer>", BASIC).emotion in (None, "happiness", "happily surprised")
