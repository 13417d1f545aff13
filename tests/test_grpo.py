"""Stage 2 through the real entry point: what an update does, what it leaves alone, and what is reported."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from conftest import fit
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from fea.data.example import Example
from fea.errors import FEAError
from fea.prompts.answer import Answer
from fea.rewards import RewardCallback
from fea.rollouts.loader import RolloutCallback
from fea.rollouts.rollout import Rollout

REWARDS = '--trainer.callbacks=[{"class_path": "test_grpo.%s"}]'


class Vowels(RewardCallback):
    """The share of vowels: something that a random model can learn within seconds."""

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        return sum(letter in "aeiou" for letter in text.lower()) / max(1, len(text))


class Constant(RewardCallback):
    """The same for all."""

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        return 0.5


class Recorder(RolloutCallback):
    """Keeps rollouts and rewards."""

    rollouts: ClassVar[list[tuple[Rollout, dict[str, Tensor]]]] = []

    def on_rollout(self, trainer: Any, module: Any, rollout: Rollout, rewards: dict[str, Tensor]) -> None:
        Recorder.rollouts.append((rollout, {name: scores.clone() for name, scores in rewards.items()}))


def callbacks(*names: str) -> str:
    listed = ", ".join(f'{{"class_path": "test_grpo.{name}"}}' for name in names)
    return f"[{listed}]"


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Recorder.rollouts = []


def scalars(folder: Path) -> dict[str, list[float]]:
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def weights(run: Any) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in run.model.policy.named_parameters()}


def test_a_reward_that_can_be_earned_is_earned(tmp_path: Path) -> None:
    fit(
        "grpo", tmp_path / "run", trainer__callbacks=callbacks("Vowels"), trainer__max_steps=40, data__train_faces=160,
        model__optimization__lr=1e-2, model__objective__beta=0.0,
    )  # fmt: skip
    rewards = scalars(tmp_path / "run")["reward/Vowels"]
    assert sum(rewards[:5]) / 5 < 0.4
    assert sum(rewards[-5:]) / 5 > 0.8


def test_constant_rewards_change_nothing_not_even_adams_moments(tmp_path: Path) -> None:
    run = fit(
        "grpo",
        tmp_path / "run",
        trainer__callbacks=callbacks("Constant"),
        trainer__max_steps=3,
        model__objective__beta=0.0,
    )
    start = fit("grpo", tmp_path / "start", trainer__callbacks=callbacks("Constant"), trainer__max_steps=0)
    before, after = weights(start), weights(run)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not run.trainer.optimizers[0].state
    assert run.trainer.global_step == 3


def test_a_bonus_for_entropy_raises_it_where_all_rewards_are_the_same(tmp_path: Path) -> None:
    fit(
        "grpo", tmp_path / "run", trainer__callbacks=callbacks("Constant"), trainer__max_steps=6,
        model__optimization__lr=1e-2, model__optimization__warmup=0, model__objective__beta=0.0, model__objective__entropy=0.01,
    )  # fmt: skip
    entropy, loss = (scalars(tmp_path / "run")[f"train/{name}"] for name in ("entropy", "loss"))
    assert entropy[-1] > entropy[0] + 0.01
    assert loss == pytest.approx([-0.01 * nats for nats in entropy], rel=0.2)  # which weighs tokens otherwise


def test_truncated_completions_can_be_left_out_and_then_teach_nothing(tmp_path: Path) -> None:
    common = {
        "trainer__callbacks": callbacks("Vowels", "Recorder"),
        "trainer__max_steps": 1,
        "model__objective__beta": 0.0,
    }
    common |= {"model__generation__max_tokens": 3}  # random models do not end within three tokens
    masked = fit("grpo", tmp_path / "masked", model__objective__mask_truncated="true", **common)
    counted = fit("grpo", tmp_path / "counted", **common)
    assert all(rollout.completions.truncated.all() for rollout, _ in Recorder.rollouts)
    assert not masked.trainer.optimizers[0].state
    assert counted.trainer.optimizers[0].state


@pytest.mark.parametrize("normalizer", ["grpo", "dapo", "dr_grpo"])
def test_packs_change_nothing_but_time_and_memory(tmp_path: Path, normalizer: str) -> None:
    common = {"trainer__callbacks": callbacks("Vowels", "Gradients"), "trainer__gradient_clip_val": "null"}
    common |= {"trainer__max_steps": 1, "model__objective__normalizer": normalizer}
    fit("grpo", tmp_path / "whole", **common)
    whole = Gradients.seen
    fit("grpo", tmp_path / "packed", trainer__accumulate_grad_batches=4, **common)
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    assert largest > 0
    for name, gradient in whole.items():
        torch.testing.assert_close(Gradients.seen[name], gradient, rtol=0, atol=1e-5 * largest)


MACHINE = ("time/", "memory/")  # of a log: what differs between two runs of one fit
ALL_TERMS = "beta: 0.1, kl: corrected, entropy: 0.01, clip_low: 0.01, clip_high: 0.01, cap: 1.5, scale: group"
OBJECTIVES = {
    "clip": f"{{{ALL_TERMS}}}",
    "gspo": f"{{{ALL_TERMS}, surrogate: gspo, normalizer: dapo, advantage: normalize_then_sum}}",
    "cispo": f"{{{ALL_TERMS}, surrogate: cispo, normalizer: dr_grpo, balance: both}}",
}


@pytest.mark.parametrize(
    ("layout", "parts", "objective"), [("tree", 3, "clip"), ("group", 8, "gspo"), ("rows", 2, "cispo")]
)
def test_microbatches_change_nothing_but_time_and_memory(
    tmp_path: Path, layout: str, parts: int, objective: str
) -> None:
    """The gradient of the third step of a rollout, with all that an objective can have, and what was logged by then."""
    common = {
        "trainer__callbacks": callbacks("Vowels", "Gradients"), "trainer__gradient_clip_val": "null", "trainer__max_steps": 3,
        "trainer__accumulate_grad_batches": 2, "model__mu": 3, "model__policy__layout": layout, "model__group_size": 8,
        "model__objective": OBJECTIVES[objective], "model__optimization__lr": 1e-3, "model__optimization__warmup": 0,
    }  # fmt: skip
    fit("grpo", tmp_path / "whole", **common)
    whole = Gradients.seen
    fit("grpo", tmp_path / "parts", model__microbatches=parts, **common)
    gap = sum((Gradients.seen[name] - gradient).square().sum() for name, gradient in whole.items())
    size = sum(gradient.square().sum() for gradient in whole.values())
    assert size > 0
    assert (gap / size) ** 0.5 < 3e-6  # two steps of Adam have made more of a rounding
    expected, found = scalars(tmp_path / "whole"), scalars(tmp_path / "parts")
    assert found.keys() == expected.keys()
    for name in expected:
        if not name.startswith(MACHINE):
            assert found[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name


def test_microbatches_in_mixed_precision_stay_as_close_as_rounding_lets_them(tmp_path: Path) -> None:
    """With an adapter and recomputed layers; the seven packs of before are of the same step, so that gradients add up."""
    common = {
        "trainer__callbacks": callbacks("Vowels", "Gradients"), "trainer__gradient_clip_val": "null", "trainer__max_steps": 1,
        "trainer__accumulate_grad_batches": 2, "model__policy__lora": '{"rank": 4, "alpha": 8}',
        "model__policy__dtype": "bfloat16", "model__policy__checkpointing": "true", "trainer__precision": "bf16-mixed",
    }  # fmt: skip
    fit("grpo", tmp_path / "whole", **common)
    whole = Gradients.seen
    fit("grpo", tmp_path / "parts", model__microbatches=4, **common)
    for name, gradient in whole.items():
        if "lora_B" in name:  # the first factors of a fresh adapter have no gradient
            assert (Gradients.seen[name] - gradient).norm() < 0.02 * gradient.norm(), name


@pytest.mark.parametrize("layout", ["tree", "group"])
def test_a_trained_tower_sees_the_images_once_for_all_microbatches(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sampling, the reference, and an update, each once; and the tower gets the gradient that it gets from the whole."""
    looks = []
    tower = Qwen2_5_VisionTransformerPretrainedModel
    plain = tower.forward
    monkeypatch.setattr(tower, "forward", lambda self, *a, **o: (looks.append(1), plain(self, *a, **o))[1])
    common = {
        "trainer__callbacks": callbacks("Vowels", "Gradients"), "trainer__max_steps": 1, "model__policy__train_vision": "true",
        "model__policy__layout": layout, "model__objective__beta": 0.1,
    }  # fmt: skip
    seen = []
    for parts in (1, 4):
        fit("grpo", tmp_path / f"{parts}", model__microbatches=parts, **common)
        seen.append({name: gradient for name, gradient in Gradients.seen.items() if ".visual." in name})
    assert len(looks) == 2 * 3
    largest = max(float(gradient.abs().max()) for gradient in seen[0].values())
    assert largest > 0
    for name, gradient in seen[0].items():
        torch.testing.assert_close(seen[1][name], gradient, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("parts", [0, 9])
def test_a_group_is_split_into_no_more_parts_than_it_has_completions(tmp_path: Path, parts: int) -> None:
    with pytest.raises(FEAError, match=f"model.microbatches: {parts}; give 1 to 8, the completions of a group"):
        fit("grpo", tmp_path / "run", model__microbatches=parts, model__group_size=8)


@pytest.mark.parametrize(("layout", "frozen"), [("tree", True), ("rows", True), ("tree", False)])
def test_a_frozen_tower_sees_the_images_once_a_rollout(
    tmp_path: Path, layout: str, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For sampling, the reference, the old log-probabilities and two epochs of updates; a trained one has to look each time."""
    looks = []
    tower = Qwen2_5_VisionTransformerPretrainedModel
    plain = tower.forward
    monkeypatch.setattr(tower, "forward", lambda self, *a, **o: (looks.append(1), plain(self, *a, **o))[1])
    fit(
        "grpo", tmp_path / "run", trainer__callbacks=callbacks("Vowels"), trainer__max_steps=4, model__mu=2,
        model__objective__beta=0.1,
        model__policy__layout=layout, model__policy__train_vision=str(not frozen).lower(),
    )  # fmt: skip
    assert len(looks) == 2 * (1 if frozen else 1 + 1 + 1 + 2)


@pytest.mark.parametrize("layout", ["group", "rows"])
def test_the_layout_changes_nothing_but_time_and_memory(tmp_path: Path, layout: str) -> None:
    common = {
        "trainer__callbacks": callbacks("Vowels"),
        "trainer__max_steps": 3,
        "model__mu": 3,
        "model__objective__beta": 0.1,
    }
    common |= {"model__optimization__lr": 1e-3, "model__optimization__warmup": 0}
    tree, other = (
        weights(fit("grpo", tmp_path / name, model__policy__layout=name, **common)) for name in ("tree", layout)
    )
    start = weights(fit("grpo", tmp_path / "start", **common | {"trainer__max_steps": 0}))
    assert max(float((tree[name] - start[name]).abs().max()) for name in tree) > 1e-3
    for name, weight in tree.items():
        torch.testing.assert_close(other[name], weight, rtol=0, atol=1e-4)


def test_a_run_says_which_layout_it_uses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        fit("grpo", tmp_path / "run", trainer__callbacks=callbacks("Vowels"), trainer__max_steps=1)
    assert "layout: tree" in caplog.text


def test_the_first_update_is_that_of_the_policy_gradient(tmp_path: Path) -> None:
    """One step of SGD on hand-computed REINFORCE with the group as baseline, against the fit's gradient."""
    run = fit(
        "grpo", tmp_path / "run", trainer__callbacks=callbacks("Vowels", "Recorder", "Gradients"), trainer__max_steps=1,
        model__objective__beta=0.0, trainer__gradient_clip_val="null", model__group_size=3, model__objective__normalizer="dapo",
        model__objective__scale="group",
    )  # fmt: skip
    start = fit("grpo", tmp_path / "start", trainer__callbacks=callbacks("Vowels"), trainer__max_steps=0)
    rollout, rewards = Recorder.rollouts[0]
    policy = start.model.policy.train()
    ids, mask = rollout.completions.ids, rollout.completions.mask
    logps = policy.logps(rollout.prompts, ids, mask)[0]
    scores = rewards["Vowels"]
    advantages = (scores - scores.mean(dim=1, keepdim=True)) / (scores.std(dim=1, keepdim=True) + 1e-4)
    loss = -(logps * advantages.reshape(-1, 1) * mask).sum() / mask.sum()
    loss.backward()
    assert run.trainer.global_step == 1
    for name, parameter in policy.trainable().items():
        torch.testing.assert_close(Gradients.seen[name], parameter.grad, rtol=1e-3, atol=1e-6)


class Gradients(RolloutCallback):
    """Keeps the gradients of the latest optimizer step."""

    seen: ClassVar[dict[str, Tensor]] = {}

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        Gradients.seen = {name: p.grad.clone() for name, p in module.policy.trainable().items()}


class PoisonOnce(RolloutCallback):
    """Puts a NaN into the gradient of the second step."""

    def on_after_backward(self, trainer: Any, module: Any) -> None:
        if trainer.global_step == 1:
            next(iter(module.policy.trainable().values())).grad.view(-1)[0] = torch.nan


@pytest.mark.filterwarnings("ignore:.*gradient is not finite.*")
def test_a_gradient_that_is_not_finite_costs_its_step_only(tmp_path: Path) -> None:
    common = {
        "trainer__callbacks": callbacks("Vowels", "PoisonOnce"),
        "model__objective__beta": 0.0,
        "data__train_faces": 8,
    }
    one = fit("grpo", tmp_path / "one", trainer__max_steps=1, **common)
    two = fit("grpo", tmp_path / "two", trainer__max_steps=2, **common)
    assert all(
        torch.equal(one_w, two_w) for one_w, two_w in zip(weights(one).values(), weights(two).values(), strict=True)
    )
    states = zip(one.trainer.optimizers[0].state.values(), two.trainer.optimizers[0].state.values(), strict=True)
    assert all(
        torch.equal(a["exp_avg"], b["exp_avg"]) and torch.equal(a["exp_avg_sq"], b["exp_avg_sq"]) for a, b in states
    )
    assert scalars(tmp_path / "two")["train/skipped"][-1] == 1


def test_an_adapter_learns_and_the_base_stays_as_it_is(tmp_path: Path) -> None:
    common = {"trainer__callbacks": callbacks("Vowels"), "model__policy__lora": '{"rank": 4, "alpha": 8}'}
    start, end = (
        weights(fit("grpo", tmp_path / f"run{steps}", trainer__max_steps=steps, **common)) for steps in (0, 3)
    )
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert moved
    assert all("lora_" in name for name in moved)
    assert any("lora_A" in name for name in moved)
    assert any("lora_B" in name for name in moved)


@pytest.mark.parametrize("adapter", [{}, {"model__policy__lora": '{"rank": 4, "alpha": 8}'}], ids=["full", "adapter"])
def test_stage_2_starts_where_stage_1_ended_with_a_kl_of_exactly_zero(tmp_path: Path, adapter: dict[str, str]) -> None:
    sft = fit("sft", tmp_path / "sft", **adapter, model__optimization__lr=1e-2)
    grpo = fit(
        "grpo", tmp_path / "grpo", **adapter, model__init_from=tmp_path / "sft",
        model__optimization__lr=1e-2, model__objective__beta=0.1, trainer__callbacks=callbacks("Vowels"), trainer__max_steps=3,
        model__optimization__warmup=1,
    )  # fmt: skip
    reference = grpo.model.policy.reference_weights
    assert all(torch.equal(reference[name], weight) for name, weight in sft.model.policy.trainable().items())
    kl = scalars(tmp_path / "grpo")["train/kl"]
    assert kl[0] == 0.0
    assert kl[-1] > 0.0


def test_several_epochs_and_minibatches_of_a_rollout_recompute_what_the_sampling_policy_thought(tmp_path: Path) -> None:
    fit(
        "grpo", tmp_path / "run", trainer__callbacks=callbacks("Vowels"), model__mu=2, model__minibatches=2,
        trainer__max_steps=8, model__optimization__lr=1e-2, model__optimization__warmup=1, model__objective__clip_high=0.05,
    )  # fmt: skip
    logged = scalars(tmp_path / "run")
    assert max(logged["train/clipped_high"]) > 0  # the ratio left 1 within a rollout
    assert len(logged["train/approx_kl"]) == 8
    assert logged["train/approx_kl"][0] == pytest.approx(
        0, abs=1e-9
    )  # of its updates the first begins where it was sampled
    assert logged["train/approx_kl"][3] > 1e-6
    assert max(logged["train/sampling_kl"]) < 1e-9  # the sampler is the policy of before all of them
    assert len(set(logged["reward/Vowels"])) == 2  # eight steps, two rollouts


def test_everything_worth_watching_is_logged(tmp_path: Path) -> None:
    fit("grpo", tmp_path / "run", trainer__limit_val_batches=1, trainer__val_check_interval=2, trainer__max_steps=4)
    found = scalars(tmp_path / "run")
    logged = set(found)
    assert found["val/score"] == pytest.approx(
        [(au + emotion) / 2 for au, emotion in zip(found["val/au_f1"], found["val/emotion_f1"], strict=True)]
    )
    parts = [
        f"reward/{name}{part}"
        for name in ("AUMacroF1", "EmotionMacroF1", "FormatReward", "total")
        for part in ("", "_std", "_group_std")
    ]
    assert logged >= {
        *parts, "groups/same_best", "groups/same_worst", "groups/same_other", "advantage/abs_mean", "advantage/max",
        "completions/length", "completions/length_min", "completions/length_max", "completions/truncated",
        "completions/unique", "completions/prefix_saving", "rollout/format", "rollout/au_f1", "rollout/au_micro_f1",
        "rollout/accuracy", "rollout/answers/happiness", "train/entropy", "train/kl", "train/clipped_low",
        "train/clipped_high", "train/clipped_dual", "train/policy_loss", "train/sampling_gap", "train/sampling_kl",
        "train/sampling_outside", "train/sampling_ratio_max", "train/grad_norm", "train/skipped", "lr-AdamW", "time/rollout",
        "time/old_and_reference", "time/reward", "time/train", "time/tokens_per_second", "memory/peak_gib",
        "val/au_f1", "val/accuracy", "val/reward", "val/reward_gap", "val/au_uar", "val/emotion_uar", "val/labels/happiness",
        "val/claims/AU12", "val/present/AU12", "rollout/labels/happiness", "rollout/claims/AU12", "rollout/present/AU12",
    }  # fmt: skip


def test_the_sampling_sees_what_the_update_sees(tmp_path: Path) -> None:
    fit("grpo", tmp_path / "run", trainer__callbacks=callbacks("Vowels"), trainer__max_steps=2)
    logged = scalars(tmp_path / "run")
    assert max(logged["train/sampling_gap"]) < 1e-5
    assert max(logged["train/sampling_kl"]) < 1e-9
    assert logged["train/sampling_ratio_max"] == pytest.approx([1, 1], abs=1e-4)
    assert logged["train/sampling_outside"] == [0, 0]
    assert "train/approx_kl" not in logged  # a single update a rollout is where it was sampled


class Mismatch(RolloutCallback):
    """A sampler that thinks otherwise of every token of the first face than training does."""

    by: ClassVar[float] = 0.0

    def on_rollout(self, trainer: Any, module: Any, rollout: Rollout, rewards: dict[str, Tensor]) -> None:
        rollout.completions.logps[: rollout.group] += Mismatch.by


@pytest.mark.parametrize(
    ("cap", "by", "factor"),
    [
        ("2.0", -math.log(1.5), 1.5),
        ("1.25", -math.log(1.5), 1.25),
        ("2.0", math.log(4.0), 0.25),
        ("null", -math.log(1.5), 1.0),
        ("2.0", math.nan, 1.0),
        ("2.0", -math.inf, 2.0),
    ],
)
def test_the_policy_term_is_multiplied_by_the_truncated_ratio_to_the_sampler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cap: str, by: float, factor: float
) -> None:
    """One face a rollout, so that the gradient is that of its tokens; the numbers are those of all packs of the step."""

    def gradients(by: float, faces: int) -> dict[str, Tensor]:
        monkeypatch.setattr(Mismatch, "by", by)
        fit(
            "grpo", tmp_path / f"run{by}-{faces}", trainer__callbacks=callbacks("Vowels", "Mismatch", "Gradients"),
            trainer__max_steps=1, data__batch_size=faces, trainer__accumulate_grad_batches=faces,
            model__objective=f"{{beta: 0.0, cap: {cap}}}", trainer__gradient_clip_val="null",
        )  # fmt: skip
        return Gradients.seen

    plain = gradients(0.0, 1)
    largest = max(float(gradient.abs().max()) for gradient in plain.values())
    for name, gradient in gradients(by, 1).items():
        torch.testing.assert_close(gradient, factor * plain[name], rtol=0, atol=1e-5 * largest)
    if math.isfinite(by):
        gradients(by, 4)
        logged = scalars(tmp_path / f"run{by}-4")
        assert logged["train/sampling_ratio_max"] == pytest.approx([max(1.0, math.exp(-by))], rel=1e-3)
        assert 0 < logged["train/sampling_outside"][0] < 1


@pytest.mark.parametrize("advantage", ["sum_then_normalize", "normalize_then_sum"])
def test_dr_grpo_trains_on_rewards_less_their_mean(tmp_path: Path, advantage: str) -> None:
    """From the config to the gradient: neither a spread nor a length divides, and nothing is bounded."""
    fit(
        "grpo", tmp_path / "run", trainer__callbacks=callbacks("Vowels", "Recorder", "Gradients"), trainer__max_steps=1,
        model__objective="{beta: 0.0, scale: none, normalizer: dr_grpo, cap: null, clip_dual: null, kl: corrected}",
        model__objective__advantage=advantage, trainer__gradient_clip_val="null", model__group_size=3,
    )  # fmt: skip
    seen = Gradients.seen
    start = fit("grpo", tmp_path / "start", trainer__callbacks=callbacks("Vowels"), trainer__max_steps=0)
    rollout, rewards = Recorder.rollouts[0]
    policy, mask, scores = start.model.policy.train(), rollout.completions.mask, rewards["Vowels"]
    logps = policy.logps(rollout.prompts, rollout.completions.ids, mask)[0]
    advantages = (scores - scores.mean(dim=1, keepdim=True)).reshape(-1, 1)
    (-(logps * advantages * mask).sum() / (len(mask) * 12)).backward()  # 12 tokens at the most
    for name, parameter in policy.trainable().items():
        torch.testing.assert_close(seen[name], parameter.grad, rtol=1e-3, atol=1e-6)


class Broken(RewardCallback):
    """Returns one row for all faces."""

    def rewards(self, rollout: Rollout) -> Tensor:
        return torch.zeros(1, rollout.group)


def test_a_reward_of_another_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FEAError, match=r"reward 'Broken': rewards\(rollout\) returned shape \(1, 8\), expected \(4, 8\)"
    ):
        fit("grpo", tmp_path / "run", trainer__callbacks=callbacks("Broken"))


class Forgot(RewardCallback):
    """The return is missing."""

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:  # type: ignore[return]
        len(text)


class Partly(RewardCallback):
    """None for all answers about a face but one."""

    def rewards(self, rollout: Rollout) -> Tensor:
        scores = torch.full((len(rollout.prompts), rollout.group), torch.nan)
        scores[0, 0] = 1.0
        return scores


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Forgot", r"^reward 'Forgot' returned None or NaN for every answer of the first rollout"),
        ("Partly", r"^reward 'Partly' returned None for 7 of 8 answers about the face 'face-\d+-\d+' \(.*jsonl:\d+\)"),
    ],
)
def test_a_reward_that_forgets_some_or_all_is_refused_at_the_first_rollout(
    tmp_path: Path, name: str, told: str
) -> None:
    summed = {
        "model__objective__advantage": "sum_then_normalize"
    }  # by itself a reward may judge some answers of a face
    with pytest.raises(FEAError, match=told):
        fit("grpo", tmp_path / "run", trainer__callbacks=callbacks("Vowels", name), **summed)


class Hangs(RewardCallback):
    """Asks a service that does not answer about one face of each rollout."""

    asked: ClassVar[list[str]] = []

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        Hangs.asked.append(example.id)
        if example.id == Hangs.asked[0]:
            threading.Event().wait(60)
        return float(len(text))


@pytest.mark.filterwarnings("ignore:reward 'Hangs' took longer")
def test_a_reward_with_a_time_limit_does_not_hold_up_the_fit(tmp_path: Path) -> None:
    reward = '[{"class_path": "test_grpo.Hangs", "init_args": {"timeout": 0.5}}]'
    began = time.monotonic()
    each_face_once = {"data__train_faces": 4, "data__balance": "null", "data__balance_power": 1.0}
    fit("grpo", tmp_path / "run", trainer__callbacks=reward, trainer__max_steps=2, **each_face_once)
    assert time.monotonic() - began < 50
    assert scalars(tmp_path / "run")["reward/Hangs_late"] == [1.0, 1.0]
