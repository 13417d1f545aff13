"""The prompt, and texts read back: `parse` takes anything, in time that grows with the length."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b

import pytest

from fea.facs import EMOTION_SETS, PROMPTED_AUS, emotion_name
from fea.prompts.answer import parse, render
from fea.prompts.prompt import DEFAULT_QUESTION, PROMPT_VERSION, system_prompt, user_prompt

BASIC = EMOTION_SETS["basic7"]


@pytest.mark.parametrize(
    ("text", "aus", "emotion", "well_formed"),
    [
        ("<think>AU6 and AU12</think><answer>happiness</answer>", {6, 12}, "happiness", True),
        (" <think>AU6\n</think>\n<answer> Happy. </answer>\n", {6}, "happiness", True),
        ("<think>no AU4, maybe AU1</think><answer>fear</answer>", set(), "fear", True),
        ("<think>no AU4. AU4</think><answer>fear</answer>", {4}, "fear", True),
        ("<think>AU99</think><answer>pain</answer>", {99}, "pain", True),
        ("AU4 <think>AU1</think><answer>fear</answer>", {1}, "fear", False),
        ("<think>AU1</think>AU2<answer>fear</answer>", {1}, "fear", False),
        ("<think>AU1</think><answer>fear</answer>AU2", {1}, "fear", False),
        ("<think></think><answer>fear</answer>", set(), "fear", False),
        ("<think>AU1</think><answer> </answer>", {1}, None, False),
        ("<think>AU1</think>", {1}, None, False),
        ("<answer>fear</answer>", set(), "fear", False),
        ("<think>AU1", set(), None, False),
        ("<think>AU1</think><answer>fear", {1}, "fear", False),
        ("AU1</think><answer>fear</answer>", {1}, "fear", False),
        ("<answer>fear</answer><think>AU1</think>", {1}, "fear", False),
        ("<think>AU1<answer>fear</answer></think>", {1}, None, False),
        ("<think>AU1<think>AU2</think>AU4</think><answer>fear</answer>", {1, 2}, "fear", False),
        ("<think>AU1</think><think>AU2</think><answer>fear</answer>", {1, 2}, "fear", False),
        ("<think>AU1</think><answer>fear</answer><answer>afraid</answer>", {1}, "fear", False),
        ("<think>AU1</think><answer>fear</answer><answer>anger</answer>", {1}, None, False),
        ("<think>AU1</think><answer>fear</answer><answer></answer>", {1}, "fear", False),
        ("<Think>AU1</Think><answer>fear</answer>", {1}, "fear", False),
        ("< think >AU1</ think>< Answer>fear</answer >", {1}, "fear", False),
        ("<thinking>AU1</thinking><answer>fear</answer>", {1}, "fear", False),
        ("<think></think> as asked: <think>AU1</think><answer>fear<answer>", {1}, "fear", False),
        ("", set(), None, False),
    ],
)
def test_texts_are_read(text: str, aus: set[int], emotion: str | None, well_formed: bool) -> None:
    answer = parse(text, BASIC)
    assert (answer.aus, answer.emotion, answer.well_formed) == (aus, emotion, well_formed)


def test_the_vocabulary_decides_between_synonyms() -> None:
    text = render("AU12", "Self-conscious")
    assert parse(text, ("self conscious", "calm")).emotion == "self conscious"
    assert parse(render("AU12", "calm")).emotion == "neutral"
    assert parse(render("AU12", "calm"), ("self conscious", "calm")).emotion == "calm"


@pytest.mark.parametrize(
    "think", ["The corners rise (AU12).", " \n AU1 \t", "ÄU12 → AU6 🙂", "a < b > c </b>", "no AU4"]
)
@pytest.mark.parametrize("answer", ["happiness", " Sad.\n"])
def test_render_and_parse_are_inverse(think: str, answer: str) -> None:
    text = render(think, answer)
    read = parse(text, BASIC)
    assert (read.text, read.think, read.answer, read.well_formed) == (text, think, answer, True)
    assert read.emotion == emotion_name(answer)
    assert text[slice(*read.think_span or ())] == f"<think>{think}</think>"
    assert text[slice(*read.answer_span or ())] == f"<answer>{answer}</answer>"


def test_mention_spans_count_from_the_start_of_the_text() -> None:
    read = parse("So: <think>first AU1, then AUs 6 and 12</think>")
    assert [read.text[slice(*m.span)] for m in read.mentions] == ["AU1", "AUs 6", "12"]


PARTS = [
    *("<think>", "</think>", "<answer>", "</answer>", "<", ">", "</", "think", "<think", "AU", "AU1", "12", "AUs ", "+", ","),
    *(" no ", " is absent", "maybe ", "(", ")", "?", " and ", "\n", "\x00", "\ud800", "٣", "İ", "🙂", "fear", " ", "%", "L"),
]  # fmt: skip


def test_no_text_makes_parse_raise_or_point_outside() -> None:
    chance, seen = random.Random(0), Counter[str]()
    for number in range(4000):
        words = ["".join(chance.choices(PARTS, k=chance.randrange(12))) for _ in range(2)]
        garbage = chance.randbytes(chance.randrange(60)).decode("utf-8", "surrogateescape")
        text = ("".join(words), garbage, render(*words), render(words[0], garbage))[number % 4]
        answer = parse(text, BASIC)
        assert (answer.think is None) == (answer.think_span is None)
        assert (answer.answer is None) == (answer.answer_span is None)
        for name, span, content in (
            ("think", answer.think_span, answer.think),
            ("answer", answer.answer_span, answer.answer),
        ):
            block = text[slice(*span)] if span else ""
            assert span is None or block.removeprefix(f"<{name}>").startswith(content or "")
            assert not answer.well_formed or block == f"<{name}>{content}</{name}>"
        assert all(0 <= m.span[0] < m.span[1] <= len(text) for m in answer.mentions)
        assert answer.aus == {m.number for m in answer.mentions if m.claimed}
        if answer.well_formed:
            assert text.strip() == render(answer.think or "", answer.answer or "")
            assert all(text.count(tag) == 1 for tag in PARTS[:4])
        seen.update(well_formed=answer.well_formed, unclosed=answer.think is None, mentions=bool(answer.mentions))
    assert min(seen.values()) > 150


def _seconds(text: str) -> float:
    """The fastest of three readings: other processes only slow them down."""
    times = []
    for _ in range(3):
        start = time.process_time()
        parse(text, BASIC)
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize(
    "hostile",
    [
        lambda n: "<think>" * n,
        lambda n: "<think></think><answer></answer>" * n,
        lambda n: render("AU1, " * n, "fear"),
        lambda n: render("no AU1 " * n, "fear"),
        lambda n: render("AU1 (" * n, "fear"),
        lambda n: render("AU1" + " " * n, "fear"),
        lambda n: render("AU" + "0" * n, "fear"),
        lambda n: render("AU0" * n, "fear"),
        lambda n: render("action  unit" * n, "fear"),
        lambda n: render("AU1 " + "not " * n, "fear"),
        lambda n: render("AU1", "a" + " " * n + "b"),
        lambda n: render("AU1", "-_" * n),
        lambda n: render("AU1", "a." * n),
    ],
)
def test_time_grows_with_the_length_and_not_faster(hostile: Callable[[int], str]) -> None:
    short, long = _seconds(hostile(1000)), _seconds(hostile(16_000))
    assert long < 64 * short + 0.02  # 16 times if linear, 256 times if quadratic


def test_the_full_prompt_defines_every_unit_and_shows_a_perfect_answer() -> None:
    text = system_prompt("full")
    assert all(f"\nAU{number} " in text for number in PROMPTED_AUS)
    example = parse(text.rpartition("Example:\n")[2], BASIC)
    assert (example.well_formed, example.aus, example.emotion) == (True, {1, 4, 15, 17}, "sadness")
    assert "\n" not in system_prompt("brief")


def test_the_question_names_the_allowed_emotions() -> None:
    assert user_prompt("<image>\nWhat now?", ("joy", "pain")) == "What now? Choose from: joy, pain."
    assert user_prompt(" <image> ", ()) == DEFAULT_QUESTION


def test_changed_words_need_a_new_version() -> None:
    words = system_prompt("full") + system_prompt("brief") + user_prompt("", BASIC)
    assert (PROMPT_VERSION, blake2b(words.encode(), digest_size=8).hexdigest()) == ("1", "615bf86df17387ac")


def test_a_text_without_blocks_is_read_as_a_whole_when_asked() -> None:
    text = "**Action Units**\n- AU6: Cheek Raiser\n- AU12: Lip Corner Puller\n- AU4: absent\n\n**Emotion:** Happiness"
    strict, lenient = parse(text, BASIC), parse(text, BASIC, lenient=True)
    assert (strict.aus, strict.emotion) == (frozenset(), None)
    assert (lenient.aus, lenient.emotion, lenient.well_formed) == ({6, 12}, "happiness", False)
    assert parse("Sad or angry, AU4.", BASIC, lenient=True).emotion is None
    asked = render("AU1 and AU4", "fear")
    assert parse(asked, BASIC, lenient=True) == parse(asked, BASIC)
