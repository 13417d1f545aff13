"""An adapter on the tower in all stages, in one process and in two, and when a run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from conftest import SAVE_EACH_STEP, fit
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_distributed import OURS, STRATEGIES, distance, joint, train
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from fea.model import checkpoints
from fea.model.policy import Policy
from fea.rollouts.loader import RolloutCallback
from fea.rollouts.rollout import Rollout
from fea.training.optimization import Optimization

ADAPTERS = {"model__policy__lora": '{"rank": 4, "alpha": 8, "vision": {"rank": 3}}'}
VOWELS = '{"class_path": "test_grpo.Vowels"}'
RATES = '{"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}'
GRPO = {
    "trainer__callbacks": f"[{VOWELS}, {SAVE_EACH_STEP}]", "model__mu": 2, "model__objective__beta": 0.1,
    "trainer__accumulate_grad_batches": 2, "data__balance": "both",
}  # fmt: skip
STAGES: dict[str, dict[str, Any]] = {"sft": {"trainer__callbacks": f"[{SAVE_EACH_STEP}, {RATES}]"}, "grpo": GRPO}


def settings(stage: str) -> dict[str, Any]:
    own = {"model__optimization__lr": 5e-3, "model__optimization__warmup": 1, "trainer__max_steps": 6}
    return {**STAGES[stage], **ADAPTERS, **own}


def weights(run: Any) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in run.model.policy.named_parameters()}


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_fit_moves_every_adapter_and_nothing_else_and_resumes_to_the_bit(tmp_path: Path, stage: str) -> None:
    """Of stage 2 from inside a rollout: what was sampled came from a tower that has moved since."""
    whole = fit(stage, tmp_path / "whole", **settings(stage))
    start = weights(fit(stage, tmp_path / "start", **{**settings(stage), "trainer__max_steps": 0}))
    moved = {name for name, weight in weights(whole).items() if not torch.equal(weight, start[name])}
    assert moved == whole.model.policy.trainable().keys()
    assert sum(".visual." in name for name in moved) == 2 * (5 * 2 + 2)
    saved = tmp_path / "whole" / "checkpoints" / "step3.ckpt"
    resumed = fit(stage, tmp_path / "resumed", ckpt_path=saved, **settings(stage))
    for name, weight in weights(whole).items():
        assert torch.equal(weights(resumed)[name], weight), name
    states = zip(whole.trainer.optimizers[0].state.values(), resumed.trainer.optimizers[0].state.values(), strict=True)
    assert all(torch.equal(a["exp_avg_sq"], b["exp_avg_sq"]) for a, b in states)
    (then, now) = (run.trainer.optimizers[0].param_groups for run in (whole, resumed))
    assert [(g["name"], g["lr"], len(g["params"])) for g in then] == [
        (g["name"], g["lr"], len(g["params"])) for g in now
    ]


class Kept(RolloutCallback):
    """Keeps rollouts."""

    rollouts: ClassVar[list[Rollout]] = []

    def on_rollout(self, trainer: Any, module: Any, rollout: Rollout, rewards: dict[str, Tensor]) -> None:
        Kept.rollouts.append(rollout)


@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_each_pass_of_stage_2_looks_anew_and_keeps_nothing(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For sampling, old log-probabilities and reference without a gradient, and in each update once a pack with one."""
    Kept.rollouts = []
    looks: list[bool] = []
    tower = Qwen2_5_VisionTransformerPretrainedModel
    plain = tower.forward

    def forward(self: Any, *args: Any, **options: Any) -> Any:
        found = plain(self, *args, **options)
        looks.append(found.pooler_output.requires_grad)
        return found

    monkeypatch.setattr(tower, "forward", forward)
    own = {"trainer__callbacks": f'[{VOWELS}, {{"class_path": "test_vision_training.Kept"}}]', "trainer__max_steps": 4}
    fit("grpo", tmp_path / "run", **{**settings("grpo"), **own}, model__policy__layout=layout)
    rollout = [False] * (1 + 2 + 2) + [True] * 4  # two packs, twice
    assert looks == 2 * rollout
    assert len(Kept.rollouts) == 2
    assert not any(prompt.features is not None for rollout in Kept.rollouts for prompt in rollout.prompts)


def test_stage_2_may_begin_where_a_stage_1_without_it_ended(tmp_path: Path) -> None:
    language = {**settings("sft"), "model__policy__lora": '{"rank": 4, "alpha": 8}'}
    fit("sft", tmp_path / "sft", **language)
    run = fit("grpo", tmp_path / "grpo", **settings("grpo"), model__init_from=tmp_path / "sft")
    first, second = (checkpoints.weights(str(tmp_path / name)) for name in ("sft", "grpo"))
    assert first.keys() < second.keys() == run.model.policy.trainable().keys()
    assert run.model.policy.reference_weights.keys() == second.keys()


# --- its learning rate ---


def test_it_has_a_learning_rate_of_its_own_which_warms_up_with_the_other(tmp_path: Path) -> None:
    slow = settings("sft")
    slow["model__policy__lora"] = '{"rank": 4, "alpha": 8, "vision": {"rank": 3, "lr": 1e-4}}'
    slow |= {"model__optimization__warmup": 4, "model__optimization__decay": "constant"}
    run = fit("sft", tmp_path / "run", **slow)
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    language, vision = (
        [event.value for event in events.Scalars(f"lr-AdamW/{name}")] for name in ("language", "vision")
    )
    assert language == pytest.approx([5e-3 / 4 * n for n in (1, 2, 3, 4, 4, 4)])
    assert vision == pytest.approx([1e-4 / 4 * n for n in (1, 2, 3, 4, 4, 4)])
    still = fit(
        "sft", tmp_path / "still", **{**slow, "model__policy__lora": slow["model__policy__lora"].replace("1e-4", "0")}
    )
    start = weights(fit("sft", tmp_path / "start", **{**slow, "trainer__max_steps": 0}))
    for fitted, stays in ((run, False), (still, True)):
        for name, weight in weights(fitted).items():
            if "lora_" in name:
                assert torch.equal(weight, start[name]) is (stays and ".visual." in name), name


@pytest.mark.parametrize("eight_bit", [False, True])
def test_without_a_part_of_its_own_there_is_one_group_as_ever(eight_bit: bool) -> None:
    some = [nn.Parameter(torch.zeros(8192)) for _ in range(3)]
    goal = Optimization(lr=1e-3, warmup=2, eight_bit=eight_bit)
    assert [len(group["params"]) for group in goal.optimizer(some).param_groups] == [3]
    optimizer = goal.optimizer(some, some[:1], 1e-5)
    schedule: LambdaLR = goal.schedule(optimizer, 10)
    assert [(g["name"], len(g["params"])) for g in optimizer.param_groups] == [("language", 2), ("vision", 1)]
    assert schedule.get_last_lr() == [5e-4, 5e-6]
    assert [group["lr"] for group in goal.optimizer(some, some[:1]).param_groups] == [1e-3, 1e-3]
    for weight in some:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    moved = [float(-weight.detach().mean()) for weight in some]
    assert moved == pytest.approx([5e-6, 5e-4, 5e-4], rel=0.01)


# --- in two processes ---

REPLAYED = {"model": "replay.Replayed", "trainer__callbacks": OURS, "trainer__max_steps": 4, "model__mu": 2}


def tower(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    return {name: weight for name, weight in checkpoint["state_dict"].items() if ".visual." in name}


def test_two_processes_end_where_one_ends(tmp_path: Path) -> None:
    """fp32, SGD, with KL term and clipping, completions of different lengths."""
    found = {name: train("grpo", tmp_path / name, name, **REPLAYED, **ADAPTERS) for name in STRATEGIES}
    single = tower(found["single"])
    ups = [weight for name, weight in single.items() if "lora_B" in name]
    assert len(ups) == 5 * 2 + 2
    assert all(weight.any() for weight in ups)
    for strategy, checkpoint in found.items():
        assert checkpoint["state_dict"].keys() == found["single"]["state_dict"].keys()
        assert distance(checkpoint, found["single"]) < 1e-5, strategy


def test_in_four_bits_and_bf16_they_stay_close(tmp_path: Path, make_policy: Callable[..., Policy]) -> None:
    make_policy().save(tmp_path / "base")
    low = {
        **REPLAYED, **ADAPTERS, "model__policy__base": tmp_path / "base", "model__policy__four_bit": "true",
        "model__policy__dtype": "bfloat16", "model__policy__checkpointing": "true", "trainer__precision": "bf16-mixed",
    }  # fmt: skip
    found = {name: train("grpo", tmp_path / name, name, **low) for name in ("single", "ddp", "fsdp2")}
    began = {
        "state_dict": {name: torch.zeros_like(w) for name, w in tower(found["single"]).items() if "lora_B" in name}
    }
    for strategy, checkpoint in found.items():
        print(f"{strategy}: of the way {joint(checkpoint, found['single'], began):.1e}")
        assert joint(checkpoint, found["single"], began) < 5e-2, strategy


@pytest.mark.parametrize(("stage", "strategy"), [("grpo", "fsdp2"), ("sft", "ddp")])
def test_two_processes_resume_exactly(tmp_path: Path, stage: str, strategy: str) -> None:
    own = {**settings(stage), "trainer__max_steps": 4, "trainer__callbacks": f"[{VOWELS}, {SAVE_EACH_STEP}]"}
    if stage == "sft":
        own["trainer__callbacks"] = f"[{SAVE_EACH_STEP}]"
    whole = train(stage, tmp_path / "whole", strategy, batch_size=8, **own)
    saved = tmp_path / "whole" / "checkpoints" / "step3.ckpt"
    resumed = train(stage, tmp_path / "resumed", strategy, batch_size=8, ckpt_path=saved, **own)
    assert resumed["global_step"] == whole["global_step"] == 4
    assert all(torch.equal(resumed["state_dict"][name], weight) for name, weight in whole["state_dict"].items())
    assert len(resumed["optimizer_states"][0]["param_groups"]) == 2
