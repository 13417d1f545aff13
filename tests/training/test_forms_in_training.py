"""Several forms of answers in one training, so that one model can be asked quickly or with thinking."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from conftest import SAVE_EACH_STEP, fit
from torch import Tensor

from fea.callbacks import AUReward, EmotionReward
from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.evaluation.looking import claims, emotions, said
from fea.memory.plan import prompt_shape
from fea.model.checkpoints import stored
from fea.model.config import PolicyConfig
from fea.model.load import skeleton
from fea.model.policy import Policy
from fea.prompts.answer import parse, render, reordered
from fea.prompts.prompt import system_prompt
from fea.rewards import every_form, scored
from fea.rollouts.loader import RolloutCallback
from fea.rollouts.rollout import Rollout, parse_all

MIXED = '{"after_thinking": 1, "only": 1}'


class Kept(RolloutCallback):
    """Keeps rollouts and rewards."""

    seen: ClassVar[list[tuple[Rollout, dict[str, Tensor]]]] = []

    def on_rollout(self, trainer: Any, module: Any, rollout: Rollout, rewards: dict[str, Tensor]) -> None:
        Kept.seen.append((rollout, rewards))


NAMES = ("fea.callbacks.AUReward", "fea.callbacks.EmotionReward", "fea.callbacks.FormatReward")
LISTED = [f'{{"class_path": "{name}"}}' for name in (*NAMES, "test_forms_in_training.Kept")]
CALLBACKS = f"[{', '.join([*LISTED, SAVE_EACH_STEP])}]"


def asked(batch: list[Prompt]) -> list[tuple[str, str]]:
    return [(prompt.example.id, prompt.form) for prompt in batch]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A first stage on both forms."""
    folder = tmp_path_factory.mktemp("mixed")
    return fit("sft", folder / "sft", model__policy__answers=MIXED, trainer__max_steps=2, data__batch_size=8)


def test_analyses_are_taught_in_the_form_that_is_drawn_for_them(run: Any) -> None:
    data, decode = run.datamodule, run.model.policy.network.tokenizer.decode
    batches = list(data.train_dataloader())
    prompts = [prompt for batch in batches for prompt in batch]
    assert {prompt.form for prompt in prompts} == {"after_thinking", "only"}
    for prompt in prompts:
        assert decode(prompt.target[:-1]) == reordered(prompt.example.analysis or "", prompt.form)
        assert system_prompt("brief", prompt.form) in decode(prompt.ids)
    assert {p.form for batch in data.val_dataloader()[0] for p in batch} == {"after_thinking"}


def test_a_checkpoint_says_in_which_forms_it_was_trained_and_those_before_it(run: Any, tmp_path: Path) -> None:
    folder = Path(run.trainer.log_dir)
    told = stored(str(folder))
    assert (told.forms, told.policy.answers) == ({"after_thinking", "only"}, {"after_thinking": 1, "only": 1})
    later = fit("sft", tmp_path / "later", model__init_from=folder, model__policy__answer="first", trainer__max_steps=1)
    assert later.model.stored().forms == {"after_thinking", "first", "only"}


def test_rollouts_of_several_forms_earn_what_applies_and_come_again_after_a_stop(run: Any, tmp_path: Path) -> None:
    Kept.seen = []
    settings = {
        "trainer__callbacks": CALLBACKS, "model__policy__answers": MIXED, "model__init_from": run.trainer.log_dir,
        "model__minibatches": 2, "model__sft_weight": 0.1, "data__batch_size": 8,
    }  # fmt: skip
    whole = fit("grpo", tmp_path / "whole", **settings)
    forms = set()
    for rollout, rewards in Kept.seen:
        for prompt, group, units, right in zip(
            rollout.prompts, rollout.by_prompt, rewards["AUReward"], rewards["EmotionReward"], strict=True
        ):
            forms.add(prompt.form)
            assert {answer.form for answer in group} == {prompt.form}
            assert bool(units.isnan().all()) == (prompt.form == "only")
            assert right.isfinite().all()
    assert forms == {"after_thinking", "only"}
    first = [(asked(rollout.prompts), rollout.completions.texts) for rollout, _ in Kept.seen]
    Kept.seen = []
    inside = tmp_path / "whole" / "checkpoints" / "step1.ckpt"  # of 4, two of which use one rollout
    resumed = fit("grpo", tmp_path / "resumed", ckpt_path=inside, **settings)
    assert [(asked(rollout.prompts), rollout.completions.texts) for rollout, _ in Kept.seen] == first[1:]
    for one, other in zip(whole.model.policy.parameters(), resumed.model.policy.parameters(), strict=True):
        assert torch.equal(one, other)


def test_forms_that_the_start_has_not_learned_are_told(run: Any, tmp_path: Path) -> None:
    told = "has learned to answer after_thinking and only, not first"
    settings = {"model__init_from": run.trainer.log_dir, "model__policy__answer": "first", "trainer__max_steps": 1}
    with pytest.warns(UserWarning, match=f"{told}: no analysis will teach it now") as warned:
        fit("grpo", tmp_path / "grpo", **settings)
    assert sum("has learned to answer" in str(one.message) for one in warned) == 1
    with warnings.catch_warnings(record=True) as silent:
        fit("grpo", tmp_path / "known", **{**settings, "model__policy__answer": "after_thinking"})
    assert not any("has learned to answer" in str(one.message) for one in silent)


def test_the_form_of_validation_is_among_those_of_training(tmp_path: Path) -> None:
    with pytest.raises(FEAError, match=r"policy\.answers: 'first' is not among them, for which validation asks"):
        fit("sft", tmp_path / "run", model__policy__answers=MIXED, model__policy__answer="first")


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"quick": 1}, "there is no form 'quick'; use after_thinking, first, only"),
        ({"only": 0}, "0 of 'only'; give a number above 0, or leave the form out"),
        ({"only": float("nan")}, "nan of 'only'"),
    ],
)
def test_shares_that_cannot_be_drawn_are_refused(answers: Any, told: str) -> None:
    with pytest.raises(FEAError, match=rf"policy\.answers: {told}"):
        PolicyConfig(answers=answers)


def test_what_says_nothing_of_an_answer_alone_is_asked_once_there_are_others(
    make_policy: Callable[..., Policy], examples: list[Example]
) -> None:
    encoder = make_policy().encoder
    face = next(example for example in examples if example.present)
    quick, slow = encoder(face._replace(form="only")), encoder(face)
    texts = [render("Lip corners up (AU12).", face.labels[0], form) for form in ("only", "after_thinking")]
    none: Any = None
    rollout = Rollout([quick, slow], 1, none, parse_all(texts, [quick, slow]))
    assert every_form(rollout, ["after_thinking", "only"])
    assert not every_form(rollout._replace(prompts=[quick]), ["after_thinking", "only"])
    assert every_form(rollout._replace(prompts=[quick]), ["only"])
    units, right = scored([AUReward(), EmotionReward()], rollout).rewards_BGK[:, 0].T
    assert units.isnan().tolist() == [True, False]
    assert right.tolist() == [1.0, 1.0]


def test_an_answer_alone_is_no_silence_about_units(examples: list[Example]) -> None:
    faces = [example for example in examples if example.present][:20] * 2
    texts = [render(" ".join(f"(AU{unit})" for unit in sorted(face.present)), face.labels[0]) for face in faces]
    thought = [said(face, [parse(text, face.emotions)]) for face, text in zip(faces, texts, strict=True)]
    alone = [
        said(face, [parse(reordered(text, "only"), face.emotions, form="only")])
        for face, text in zip(faces, texts, strict=True)
    ]
    assert claims([*thought, *alone]) == claims(thought)
    assert claims(alone) is None
    assert emotions([*thought, *alone]) is not None


def test_the_plan_knows_that_prompts_of_several_forms_share_less() -> None:
    from fea.memory.setting import Setting, Spread

    def shape(answers: Any) -> Any:
        policy = PolicyConfig(answers=answers)
        setting = Setting(policy, 8, 1, 1, 4, 1, 64, 0, 0, False, False, False, "32-true", Spread())
        return prompt_shape(setting, skeleton(policy))

    one, two = shape(None), shape({"after_thinking": 1, "only": 1})
    assert two.trunk < one.trunk
    assert one.trunk + one.own <= two.trunk + two.own <= one.trunk + one.own + 3  # a word may be cut in two
