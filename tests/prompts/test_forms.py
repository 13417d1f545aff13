"""Where the answer stands: behind the thinking, before it, or alone; in the prompt, in what is taught and in what is read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fea.data.example import Example
from fea.errors import FEAError
from fea.evaluation.counts import count_aus, count_emotions
from fea.evaluation.scores import au_f1, format_match
from fea.facs import EMOTION_SETS
from fea.model.config import PolicyConfig
from fea.model.policy import Policy
from fea.model.sampling import Completions
from fea.prompts.answer import FORMS, Form, parse, render, reordered
from fea.prompts.prompt import Knowledge, system_prompt
from fea.protocols.cases import case_of, line_of
from fea.rewards import check_regions
from fea.rollouts.rollout import Rollout, parse_all
from fea.synthesis.attempts import as_in_files
from fea.synthesis.round import expect_thinking

BASIC = EMOTION_SETS["basic7"]


@pytest.mark.parametrize(
    ("form", "text", "aus", "emotion", "well_formed"),
    [
        ("first", "<answer>fear</answer><think>AU1</think>", {1}, "fear", True),
        ("first", " <answer> fear</answer>\n<think>AU1\n</think>\n", {1}, "fear", True),
        ("first", "<think>AU1</think><answer>fear</answer>", {1}, "fear", False),
        ("first", "<answer>fear</answer><think> </think>", set(), "fear", False),
        ("first", "So: <answer>fear</answer><think>AU1</think>", {1}, "fear", False),
        ("first", "<answer>fear</answer> since <think>AU1</think>", {1}, "fear", False),
        ("first", "<answer>fear</answer><think>AU1 and AU2, cut", {1, 2}, "fear", False),
        ("first", "<answer>fear<think>AU1</think>", {1}, "fear", False),
        ("first", "<answer>fear", set(), "fear", False),
        ("only", "<answer>fear</answer>", set(), "fear", True),
        ("only", "\n<answer>Fearful</answer> ", set(), "fear", True),
        ("only", "<answer> </answer>", set(), None, False),
        ("only", "<answer>fear</answer> (AU1)", set(), "fear", False),
        ("only", "<think>AU1</think><answer>fear</answer>", {1}, "fear", False),
        ("only", "<answer>fear</answer><answer>fear</answer>", set(), "fear", False),
        ("only", "fear", set(), None, False),
        ("only", "", set(), None, False),
    ],
)
def test_texts_are_read_in_the_form_that_was_asked_for(
    form: Form, text: str, aus: set[int], emotion: str | None, well_formed: bool
) -> None:
    answer = parse(text, BASIC, form=form)
    assert (answer.aus, answer.emotion, answer.well_formed, answer.form) == (aus, emotion, well_formed, form)
    assert format_match(answer) == well_formed


@pytest.mark.parametrize("form", FORMS)
def test_what_is_rendered_is_well_formed_and_turned_around(form: Form) -> None:
    text = render("Brows up (AU1).", "fear", form)
    assert parse(text, form=form).well_formed
    assert [other for other in FORMS if parse(text, form=other).well_formed] == [form]
    assert reordered(render("Brows up (AU1).", "fear"), form) == text
    if form != "only":
        assert reordered(text, "after_thinking", form) == render("Brows up (AU1).", "fear")
    assert reordered("AU1: fear.", form) == "AU1: fear."


@pytest.mark.parametrize("knowledge", ["full", "brief"])
def test_each_form_has_a_prompt_that_asks_for_it(knowledge: Knowledge) -> None:
    prompts = {form: system_prompt(knowledge, form) for form in FORMS}
    assert prompts["after_thinking"] == system_prompt(knowledge)
    assert len(set(prompts.values())) == len(FORMS)
    assert "think" not in prompts["only"]
    if knowledge == "full":
        for form, prompt in prompts.items():
            assert parse(prompt.rpartition("Example:\n")[2], form=form).well_formed


@pytest.mark.parametrize("form", FORMS)
def test_the_target_has_the_form_and_the_prompt_says_it(
    form: Form, make_policy: Callable[..., Policy], examples: list[Example]
) -> None:
    policy = make_policy(answer=form)
    prompt = policy.encoder(examples[0], with_target=True)
    assert policy.network.tokenizer.decode(prompt.target[:-1]) == reordered(examples[0].analysis or "", form)
    assert system_prompt("brief", form) in policy.network.tokenizer.decode(prompt.ids)
    assert prompt.form == policy.encoder.ask(prompt, "Which?").form == form
    said = parse_all([reordered(examples[0].analysis or "", form)], [prompt])[0]
    assert (said.well_formed, said.emotion) == (True, examples[0].labels[0])


@pytest.mark.parametrize(
    ("form", "text", "think", "answer"),
    [
        ("after_thinking", "<think>AU1</think><answer>fear</answer>", [0, 18], [18, 39]),
        ("first", "<answer>fear</answer><think>AU1</think>", [21, 39], [0, 21]),
        ("first", "AU1, cut off", [12, 12], [0, 12]),
        ("only", "<answer>fear</answer> and more", [30, 30], [0, 30]),
    ],
)
def test_rewards_credit_the_block_where_it_stands(form: Form, text: str, think: list[int], answer: list[int]) -> None:
    size = len(text)
    ids, mask = torch.zeros(1, size, dtype=torch.long), torch.ones(1, size, dtype=torch.long)
    completions = Completions(ids, mask, ids.float(), torch.tensor([False]), [text])
    spans = Rollout([], 1, completions, [parse(text, form=form)]).regions(lambda ids, characters: characters)
    assert {name: span.tolist() for name, span in spans.items()} == {
        "all": [[0, size]],
        "think": [think],
        "answer": [answer],
    }


def test_nobody_expects_units_of_an_answer_alone(examples: list[Example]) -> None:
    face = next(example for example in examples if example.present)
    alone, silent = (
        parse(f"<answer>{face.labels[0]}</answer>", face.emotions, form=form) for form in ("only", "first")
    )
    assert (au_f1(alone, face), au_f1(silent, face)) == (None, 0.0)
    assert not any(np.any(counted) for counted in count_aus([face], [[alone]]))
    assert np.any(count_aus([face], [[silent]]).present)
    assert count_emotions([face], [[alone]], face.emotions).formatted.tolist() == [1]
    line, other = (line_of(case_of(face, answer)) for answer in (alone, silent))
    assert (line["AUs"], line["form"], line["emotion"]) == (None, "only", face.labels[0])
    assert (other["AUs"], other["form"]) == ([], "first")
    assert "form" not in line_of(case_of(face, parse(face.analysis or "", face.emotions)))


def test_where_there_is_no_thinking_nothing_is_paid_for_it_and_nothing_kept() -> None:
    from fea.callbacks import AUReward, EmotionReward, FormatReward

    check_regions([EmotionReward(), FormatReward()], ["only"])
    check_regions([AUReward()], ["first"])
    check_regions([AUReward()], ["only", "after_thinking"])
    with pytest.raises(FEAError, match=r"reward 'AUReward': it credits the thinking, which policy.answer 'only'"):
        check_regions([EmotionReward(), AUReward()], ["only"])
    expect_thinking(PolicyConfig(answer="first"))
    with pytest.raises(FEAError, match=r"policy\.answer: 'only' asks for no thinking"):
        expect_thinking(PolicyConfig(answer="only"))


def test_analyses_are_kept_in_the_form_that_files_have(
    make_policy: Callable[..., Policy], examples: list[Example]
) -> None:
    prompt = make_policy(answer="first").encoder(examples[0])
    right, wrong = parse_all(["<answer>fear</answer><think>Brows up (AU1).</think>", "fear"], [prompt])
    kept = as_in_files(right, prompt)
    assert (kept.text, kept.well_formed) == ("<think>Brows up (AU1).</think><answer>fear</answer>", True)
    assert [kept.text[slice(*mention.span)] for mention in kept.mentions] == ["AU1"]
    assert as_in_files(wrong, prompt) == wrong
