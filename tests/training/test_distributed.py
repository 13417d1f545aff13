"""Two processes: the same completions, the same weights, however they share the work; and what happens when one dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SAVE_EACH_STEP, fit_arguments
from processes import ended, run, start, start_together
from replay import PLACE
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fea.model.policy import Policy

NEVER = '{"class_path": "fea.model.fsdp.FSDP2Strategy", "init_args": {"gather": "never"}}'
STRATEGIES = {"single": (1, "auto"), "ddp": (2, "ddp"), "fsdp2": (2, "fsdp2"), "fsdp2, token by token": (2, NEVER)}
OURS = f'[{{"class_path": "test_grpo.Vowels"}}, {{"class_path": "fea.callbacks.RewardGap"}}, {SAVE_EACH_STEP}]'
# Rewards and observers whose numbers are those of all processes.
WATCHED = "".join(
    f'{{"class_path": "{name}"}}, '
    for name in ("fea.callbacks.AUReward", "fea.callbacks.EmotionReward", "fea.callbacks.Watch")
)
WATCHED += "".join(
    f'{{"class_path": "fea.callbacks.{name}", "init_args": {own}}}, '
    for name, own in {
        "EmotionReward": '{"name": "corrected", "corrected": true, "balance": 0.5}',
        "MacroF1Reward": '{"of": "au"}',
        "OverlongPenalty": "{}",
    }.items()
)
ADAPTER = {"model__policy__lora": '{"rank": 4, "alpha": 8}'}


def command(stage: str, folder: Path, strategy: str, batch_size: int = 4, **settings: Any) -> list[str]:
    """A `fea fit` of two processes, or of one with twice the batch."""
    devices, name = STRATEGIES[strategy]
    return fit_arguments(
        stage,
        folder,
        trainer__devices=devices,
        trainer__strategy=name,
        data__batch_size=batch_size // devices,
        **settings,
    )


def train(stage: str, folder: Path, strategy: str, **settings: Any) -> dict[str, Any]:
    """Runs it and returns the last checkpoint."""
    words, place = command(stage, folder, strategy, **settings), {PLACE: str(folder.parent)}
    for process in start_together(words, STRATEGIES[strategy][0], **place):
        done = ended(process)
        assert done.returncode == 0, done.stderr[-2000:]
    checkpoint: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Largest relative distance of a tensor, ||a - b|| / ||b||, of those that one has."""
    assert one["state_dict"].keys() <= other["state_dict"].keys()
    pairs = ((weight, other["state_dict"][name]) for name, weight in one["state_dict"].items())
    return max(float((a - b).norm() / b.norm()) for a, b in pairs if b.norm())


def origin(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Where the run began; of a fresh adapter, the second factors."""
    return {"state_dict": {f"policy.{name}": weight for name, weight in checkpoint["fea"]["reference"].items()}}


def joint(one: dict[str, Any], other: dict[str, Any], began: dict[str, Any] | None = None) -> float:
    """Relative distance of all weights together; of how far they moved from an origin, if there is one."""
    gap = size = 0.0
    for name in (began or one)["state_dict"]:
        weight = other["state_dict"][name]
        gap += float((one["state_dict"][name] - weight).square().sum())
        size += float((weight - began["state_dict"][name] if began else weight).square().sum())
    return float((gap / size) ** 0.5)


def counted(checkpoint: dict[str, Any]) -> list[Any]:
    """What rewards have counted of all answers."""
    return [state for key, state in checkpoint["callbacks"].items() if key.startswith("MacroF1Reward")]


OWN = ("time/", "memory/")  # of a log: a machine's own


def logged(folder: Path) -> dict[str, dict[int, float]]:
    """By tag and step, the value of all that a run has logged but what is its machine's own."""
    events = EventAccumulator(str(folder)).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith(OWN)]
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in tags}


ADAPTED = ADAPTER | {"model__objective__scale": "batch"}
# All that an objective can have beside the paper's.
COMPLETED = {
    "model__objective": "{clip_low: 0.01, clip_high: 0.01, entropy: 0.01, baseline: leave_one_out, scale: none, balance: both, "
    "balance_power: 0.5}",
    "model__refill": 2,
    "trainer__callbacks": f"[{WATCHED}{OURS[1:]}".replace("test_grpo.Vowels", "test_refill.Choosy"),
}
REPLAYED = {"model": "replay.Replayed", "trainer__callbacks": OURS, "trainer__max_steps": 20, "model__mu": 2}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        ADAPTED,
        COMPLETED | {"model__objective__surrogate": "gspo"},
        COMPLETED | {"model__objective__surrogate": "cispo"},
    ],
    ids=["full", "adapter", "gspo", "cispo"],
)
def test_twenty_steps_end_where_those_of_one_process_end(tmp_path: Path, settings: dict[str, Any]) -> None:
    """fp32, SGD, with KL term and clipping, completions of different lengths; and so do the numbers on the way."""
    watched = {**REPLAYED, "trainer__callbacks": f"[{WATCHED}{OURS[1:]}", **settings}
    found = {
        strategy: train("grpo", tmp_path / strategy, strategy, **watched)
        for strategy in STRATEGIES
        if settings != ADAPTED or strategy != "fsdp2, token by token"
    }
    assert distance(origin(found["single"]), found["single"]) > 1e-3
    for strategy, checkpoint in found.items():
        assert checkpoint["global_step"] == 20
        assert checkpoint["state_dict"].keys() == found["single"]["state_dict"].keys()
        assert distance(checkpoint, found["single"]) < 1e-5, strategy
        assert counted(checkpoint) == counted(found["single"]) != [], strategy
        for name, weight in checkpoint["fea"]["reference"].items():
            assert torch.equal(weight, found["single"]["fea"]["reference"][name])
    numbers = {strategy: logged(tmp_path / strategy) for strategy in found}
    assert numbers["single"].keys() >= {
        "train/entropy",
        "train/kl",
        "reward/total_std",
        "rollout/uncoded",
        "watch/au_look",
    }
    assert ("groups/filled" in numbers["single"]) == ("model__refill" in settings)
    assert max(numbers["single"].get("groups/filled", {0: 1.0}).values()) > 0
    for strategy, curves in numbers.items():
        assert curves.keys() == numbers["single"].keys(), strategy
        for tag, curve in curves.items():
            assert curve == pytest.approx(numbers["single"][tag], rel=1e-3, abs=1e-5), (strategy, tag)


@pytest.mark.parametrize("settings", [{}, ADAPTER], ids=["full", "adapter"])
def test_microbatches_end_where_whole_groups_of_one_process_end(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Gradients of the parts of several packs add up before they are exchanged, or are exchanged part by part."""
    common = {**REPLAYED, "trainer__max_steps": 4, "trainer__accumulate_grad_batches": 2, "batch_size": 8, **settings}
    whole = train("grpo", tmp_path / "whole", "single", **common)
    assert distance(origin(whole), whole) > 1e-3
    for strategy in ("single", "ddp", "fsdp2"):
        found = train("grpo", tmp_path / strategy, strategy, model__microbatches=3, **common)
        assert distance(found, whole) < 1e-5, strategy
    # Losses are logged pack by pack, and packs are others where processes share a step.
    expected = logged(tmp_path / "whole")
    for tag, curve in logged(tmp_path / "single").items():
        assert curve == pytest.approx(expected[tag], rel=1e-3, abs=1e-5), tag


def test_in_four_bits_and_bf16_they_stay_close(tmp_path: Path, make_policy: Callable[..., Policy]) -> None:
    make_policy().save(tmp_path / "base")
    low = {
        **REPLAYED, **ADAPTER, "model__policy__base": tmp_path / "base", "model__policy__four_bit": "true",
        "model__policy__dtype": "bfloat16", "model__policy__checkpointing": "true", "trainer__precision": "bf16-mixed",
    }  # fmt: skip
    found = {strategy: train("grpo", tmp_path / strategy, strategy, **low) for strategy in ("single", "ddp", "fsdp2")}
    began = origin(found["single"])
    assert joint(began, found["single"]) > 1e-2
    for strategy, checkpoint in found.items():
        print(
            f"{strategy}: {joint(checkpoint, found['single']):.1e}, of the way {joint(checkpoint, found['single'], began):.1e}"
        )
        assert joint(checkpoint, found["single"]) < 1e-2, strategy
        assert joint(checkpoint, found["single"], began) < 5e-2, strategy


def test_full_weights_in_mixed_precision_stay_close(tmp_path: Path) -> None:
    """Sharded weights are gathered and multiplied in bf16, kept and updated in fp32.

    One update a rollout: with two, a ratio at the edge of the clip turns a rounding into another gradient.
    """
    mixed = {**REPLAYED, "model__mu": 1, "trainer__precision": "bf16-mixed"}
    single, sharded = (train("grpo", tmp_path / strategy, strategy, **mixed) for strategy in ("single", "fsdp2"))
    print(f"{joint(sharded, single):.1e}, of the way {joint(sharded, single, origin(single)):.1e}")
    assert joint(sharded, single) < 1e-3
    assert joint(sharded, single, origin(single)) < 5e-2  # what lies between the layers is in bf16 too
    assert {weight.dtype for weight in sharded["state_dict"].values()} == {torch.float32}


@pytest.mark.parametrize(("stage", "strategy"), [("grpo", "ddp"), ("grpo", "fsdp2"), ("sft", "ddp")])
def test_two_processes_resume_exactly(tmp_path: Path, stage: str, strategy: str) -> None:
    """From inside a rollout, and from the middle of an epoch."""
    settings: dict[str, Any] = {
        "trainer__callbacks": OURS if stage == "grpo" else f"[{SAVE_EACH_STEP}]", "trainer__accumulate_grad_batches": 2,
        "model__optimization__lr": 1e-3, "trainer__max_steps": 5, "data__mirror": "true",
    }  # fmt: skip
    if stage == "grpo":
        settings["model__mu"] = 2
    if strategy == "fsdp2":
        settings |= {"model__refill": 1, "trainer__callbacks": OURS.replace("test_grpo.Vowels", "test_refill.Choosy")}
    whole = train(stage, tmp_path / "whole", strategy, batch_size=8, **settings)
    saved = tmp_path / "whole" / "checkpoints" / "step3.ckpt"
    resumed = train(stage, tmp_path / "resumed", strategy, batch_size=8, ckpt_path=saved, **settings)
    assert resumed["global_step"] == whole["global_step"] == 5
    assert all(torch.equal(resumed["state_dict"][name], weight) for name, weight in whole["state_dict"].items())


def test_unequal_shares_of_the_validation_faces_are_answered_together(tmp_path: Path) -> None:
    """Five faces, two in a batch: the first process has two batches, the second one; both gather weights as often."""
    settings: dict[str, Any] = {
        "trainer__callbacks": OURS, "trainer__max_steps": 1, "trainer__val_check_interval": 1, "data__val_faces": 5,
        "data__eval_batch_size": 2, "trainer__limit_val_batches": 5,
    }  # fmt: skip
    numbers = {}
    for strategy in ("single", "fsdp2", "fsdp2, token by token"):
        train("grpo", tmp_path / strategy, strategy, **settings)
        events = EventAccumulator(str(tmp_path / strategy)).Reload()
        tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("val/")]
        numbers[strategy] = {tag: events.Scalars(tag)[-1].value for tag in tags}
    assert numbers["single"].keys() >= {"val/au_f1", "val/accuracy", "val/reward"}
    for strategy, found in numbers.items():
        assert found == pytest.approx(numbers["single"], abs=1e-6), strategy


def test_processes_that_would_train_by_themselves_are_refused(tmp_path: Path) -> None:
    """The strategy's own sizes: tensor parallelism over the node, which shares neither data nor gradients here."""
    words = command("sft", tmp_path / "run", "ddp", batch_size=8)
    words = [word for word in words if not word.startswith("--trainer.strategy")]
    words.append('--trainer.strategy={"class_path": "lightning.pytorch.strategies.ModelParallelStrategy"}')
    done = run(words, timeout=120)
    assert done.returncode != 0
    assert "1 of 2 processes would share data and gradients" in done.stderr
    assert "use strategy: fsdp2" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("victim", ["first", "second"])
def test_a_process_that_dies_takes_the_others_with_it(tmp_path: Path, victim: str) -> None:
    words = command("sft", tmp_path / "run", "ddp", batch_size=8, trainer__max_steps=100_000)
    first = start(words, fresh=victim == "first")  # which starts the second by itself
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run").glob("events.*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2.0)
    second = int(children.read_text().split()[0])
    try:
        os.kill(first.pid if victim == "first" else second, signal.SIGKILL)
        died = time.monotonic()
        while (first.poll() is None or alive(second)) and time.monotonic() < died + 60:
            time.sleep(0.1)
        assert first.poll() is not None
        assert not alive(second)
        assert first.returncode != 0
    finally:
        first.kill()
        if alive(second):
            os.kill(second, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
