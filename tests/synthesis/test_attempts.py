"""Attempts: what they see, what they are told, and what a vote says about faces that nobody labeled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.model.policy import Policy
from fea.model.sampling import Completions, Generation
from fea.prompts.answer import parse, render
from fea.prompts.prompt import DEFAULT_QUESTION
from fea.synthesis.attempts import Outcome, attempted, voted
from fea.synthesis.recipe import Recipe

Script = Callable[[Prompt, str, int], str]
MakePolicy = Callable[..., Policy]


def true_text(prompt: Prompt, question: str = "", turn: int = 0) -> str:
    units = " ".join(f"brow eye cheek nose mouth chin jaw (AU{number})" for number in sorted(prompt.example.present))
    return render(f"Here is what the face shows: {units}", prompt.example.labels[0])


class Scripted:
    """Writes what a script says in place of a policy, and remembers what it was asked."""

    def __init__(self, policy: Policy, script: Script):
        self.encoder, self.policy, self.script = policy.encoder, policy, script
        self.asked: list[list[str]] = []
        self.samples: list[int] = []
        self.chances: list[torch.Tensor] = []

    def rollout(
        self, prompts: Sequence[Prompt], group: int, generation: Generation, chance: torch.Tensor, *_: None
    ) -> Completions:
        questions = [self.policy.network.decode(prompt.ids) for prompt in prompts]
        self.asked.append(questions)
        self.samples.append(group)
        self.chances.append(chance)
        pairs = [pair for pair in zip(prompts, questions, strict=True) for _ in range(group)]
        texts = [self.script(prompt, question, len(self.asked)) for prompt, question in pairs]
        none = torch.zeros(len(texts), 1)
        return Completions(none.long(), none.long(), none, none[:, 0].bool(), texts)


def run(
    policy: Policy, prompts: list[Prompt], script: Script, round: int = 0, **recipe: Any
) -> tuple[list[Outcome], Scripted]:
    scripted = Scripted(policy, script)
    settings = Recipe(**{"samples": 2, **recipe})
    return attempted(scripted, prompts, prompts[0], Generation(8), settings, round), scripted  # type: ignore[arg-type]


def test_the_first_attempt_sees_no_label_and_what_passes_is_kept(
    make_policy: MakePolicy, prompts: list[Prompt]
) -> None:
    outcomes, scripted = run(make_policy(), prompts, true_text)
    assert [outcome.example for outcome in outcomes] == [prompt.example for prompt in prompts]
    assert all(outcome.answer and outcome.attempts == 1 and not outcome.revealed for outcome in outcomes)
    assert len(scripted.asked) == 1
    assert not any("labels are" in question or "rejected" in question for question in scripted.asked[0])


def test_a_failed_attempt_is_told_what_was_wrong_and_only_late_ones_see_the_labels(
    make_policy: MakePolicy, prompts: list[Prompt]
) -> None:
    def script(prompt: Prompt, question: str, turn: int) -> str:
        return true_text(prompt) if "The labels are" in question else render("A face like any other one.", "x")

    outcomes, scripted = run(make_policy(), prompts, script, attempts=4, reveal_after=2)
    assert all(outcome.answer and outcome.attempts == 3 and outcome.revealed for outcome in outcomes)
    assert all("emotion was wrong" in question and "labels are" not in question for question in scripted.asked[1])
    assert all("labels are" in question for question in scripted.asked[2])
    assert all(DEFAULT_QUESTION in question for asked in scripted.asked for question in asked)
    assert all(len(outcome.reasons) == 2 and "emotion" in outcome.reasons[0] for outcome in outcomes)


def test_faces_that_are_done_are_not_asked_again(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    def script(prompt: Prompt, question: str, turn: int) -> str:
        return true_text(prompt) if prompt.example.id.endswith(("0", "2")) or turn == 2 else "nothing"

    outcomes, scripted = run(make_policy(), prompts, script)
    assert [len(asked) for asked in scripted.asked] == [4, 2]
    assert [outcome.attempts for outcome in outcomes] == [1, 2, 1, 2]


def test_without_a_pass_there_is_no_answer(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    outcomes, scripted = run(make_policy(), prompts, lambda *_: "nothing", attempts=3, reveal_after=3)
    assert all(outcome.answer is None and len(outcome.reasons) == 3 for outcome in outcomes)
    assert not any("labels are" in question for asked in scripted.asked for question in asked)


def test_a_question_again_is_the_prompt_of_that_question(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    encoder = make_policy().encoder
    again = encoder.ask(prompts[0], "Why so?")
    whole = encoder(prompts[0].example._replace(question="Why so?"))
    assert torch.equal(again.ids, whole.ids)
    assert torch.equal(again.positions, whole.positions)
    assert again.example == prompts[0].example


def test_a_hard_face_gets_more_completions(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    _, scripted = run(make_policy(), prompts, lambda *_: "nothing", attempts=3, samples=2)
    assert scripted.samples == [2, 4, 6]


def test_each_attempt_of_each_round_has_its_own_noise(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    rounds = [run(make_policy(), prompts, lambda *_: "nothing", round, attempts=2)[1] for round in (0, 1, 0)]
    first, second, again = ([tuple(chance[0].tolist()) for chance in scripted.chances] for scripted in rounds)
    assert len({*first, *second}) == 4
    assert first == again


# --- faces without labels ---


def unlabeled(prompt: Prompt) -> Prompt:
    return prompt._replace(example=prompt.example._replace(labels=(), aus=None, coded=frozenset()))


def said(*texts: str) -> list[Any]:
    return [parse(text, ("happiness", "sadness")) for text in texts]


SMILE, BLINK = render("The cheeks (AU6) and mouth corners (AU12) go up.", "happiness"), render("x (AU45)", "sadness")


def test_a_vote_needs_its_share_of_all_answers(examples: list[Example]) -> None:
    found = voted(examples[0], said(SMILE, SMILE, SMILE, BLINK), 0.75)
    assert found is not None
    assert (found.labels, found.aus) == (("happiness",), {"AU6", "AU12"})
    assert found.coded == {6, 12, 45}  # three of four deny the last
    assert voted(examples[0], said(SMILE, SMILE, SMILE, BLINK), 0.8) is None
    assert voted(examples[0], said("nothing", "nothing", SMILE), 0.6) is None


def test_units_that_the_answers_do_not_agree_on_stay_unknown(examples: list[Example]) -> None:
    half = render("The cheeks (AU6) go up.", "happiness")
    found = voted(examples[0], said(SMILE, SMILE, half, half), 0.75)
    assert found is not None
    assert (found.aus, found.coded) == ({"AU6"}, {6})


def test_a_face_without_labels_has_one_attempt_and_keeps_none(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    bare = [unlabeled(prompt) for prompt in prompts]
    outcomes, scripted = run(make_policy(), bare, lambda *_: SMILE, samples=4, vote=0.75)
    assert [outcome.judged.labels for outcome in outcomes] == [("happiness",)] * len(bare)
    assert all(outcome.answer and not outcome.example.labels and not outcome.revealed for outcome in outcomes)
    outcomes, scripted = run(make_policy(), bare, lambda *_: "nothing", samples=4, vote=0.75)
    assert len(scripted.asked) == 1
    assert all(outcome.answer is None and outcome.reasons == (("vote",),) for outcome in outcomes)


@pytest.mark.parametrize(
    ("name", "value"),
    [("attempts", 0), ("samples", 0), ("quota_emotion", 0), ("alike", 1.2), ("vote", 0.5), ("reveal_after", 0)],
)
def test_a_recipe_that_makes_no_sense_is_refused(name: str, value: float) -> None:
    with pytest.raises(FEAError, match=f"recipe.{name}: {value}"):
        Recipe(**{name: value})
