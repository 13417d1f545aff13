"""The memory plan against the bytes that training takes, and what it says about a card."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CONFIGS, fit
from planned import BF16, LORA, alike, check

from fea.cli import main
from fea.errors import FEAError
from fea.grpo import GRPOModule
from fea.memory import weights
from fea.memory.advice import table, verdict
from fea.memory.dry_run import DryRun, PromptShape
from fea.memory.plan import GIB, SYSTEM, Plan, plan, settled
from fea.memory.setting import Setting, Spread
from fea.model.config import LoRA, PolicyConfig, TinySize
from fea.model.families.family import Family
from fea.model.families.known import FAMILIES, TINY
from fea.model.load import count_tokens, skeleton
from fea.model.policy import Policy

SIZES = {"small": (128, 3), "large": (512, 5)}  # width and layers
KINDS: dict[str, dict[str, Any]] = {
    "whole model": {"model__objective__beta": 0},  # its reference would lie in host memory, which is measured here
    "adapter, checkpointing": {**LORA, "model__policy__checkpointing": "true"},
    "adapter, bf16": BF16,
}


# A tower that takes as much as the language model, with an adapter on both.
SEEN = {"model__policy__lora": '{"rank": 8, "alpha": 16, "vision": {"rank": 8}}'}
SEEING = {
    "model__policy__tiny__vision_hidden": 256, "model__policy__tiny__vision_layers": 8,
    "model__policy__tiny__hidden": 128, "model__policy__max_pixels": 224 * 224, "model__policy__min_pixels": 224 * 224,
}  # fmt: skip
MIDDLE = {"model__policy__tiny__hidden": 256, "model__policy__tiny__layers": 4}


@pytest.mark.parametrize(("size", "kind"), [*(("large", kind) for kind in KINDS), ("small", "adapter, bf16")])
def test_the_plan_is_within_10_percent_of_what_training_takes(tmp_path: Path, size: str, kind: str) -> None:
    hidden, layers = SIZES[size]
    check(tmp_path, **{**KINDS[kind], "model__policy__tiny__hidden": hidden, "model__policy__tiny__layers": layers})


@pytest.mark.parametrize(
    ("stage", "strategy", "kind"),
    [("grpo", "auto", "fp32"), ("grpo", "auto", "bf16"), ("sft", "auto", "bf16"), ("grpo", "fsdp2", "bf16")],
)
def test_an_adapter_on_the_tower_is_planned_with_what_its_backward_pass_needs(
    tmp_path: Path, stage: str, strategy: str, kind: str
) -> None:
    own = {
        **SEEING,
        **(KINDS["adapter, bf16"] if kind == "bf16" else {}),
        **SEEN,
        "trainer__accumulate_grad_batches": 1,
        "data__eval_batch_size": 2,
    }
    processes = 1 if strategy == "auto" else 2
    most = check(tmp_path, stage, processes, **own, trainer__strategy=strategy)
    assert most == {"update" if processes == 1 else "rollout"}  # which holds all of the sharded weights


@pytest.mark.parametrize("kind", ["whole model", "adapter, bf16"])
def test_groups_in_parts_are_planned_too(tmp_path: Path, kind: str) -> None:
    """One group a pack, whose completions hold most of its tokens."""
    settings: dict[str, Any] = {
        **MIDDLE, **KINDS[kind], "model__generation__max_tokens": 64, "data__batch_size": 2, "trainer__limit_val_batches": 0,
    }  # fmt: skip
    assert check(tmp_path, **settings, model__microbatches=4) == {"update"}


PHASES = {
    "validation": {"data__batch_size": 2, "data__eval_batch_size": 32, "data__val_faces": 32},
    "rollout": {"data__batch_size": 8, "trainer__accumulate_grad_batches": 8, "model__generation__max_tokens": 32},
}


@pytest.mark.parametrize(
    ("phase", "kind"),
    [("validation", "whole model"), ("validation", "adapter, bf16"), ("rollout", "adapter, bf16")],
)
def test_what_takes_most_may_be_no_update(tmp_path: Path, phase: str, kind: str) -> None:
    settings = {**KINDS[kind], **PHASES[phase], "model__policy__checkpointing": "true"}
    assert check(tmp_path, **MIDDLE, **settings) == {phase}


@pytest.mark.parametrize("family", [family for family in FAMILIES if family is not TINY], ids=lambda f: f.model_type)
def test_every_family_is_planned(tmp_path: Path, family: Family) -> None:
    """With two layers of DeepStack, where there are any; 16 visual tokens a face, as in the others."""
    seen = dict.fromkeys(("model__policy__min_pixels", "model__policy__max_pixels"), 16 * family.pixels)
    tower = {"model__policy__tiny__family": family.model_type, "model__policy__tiny__vision_layers": 3}
    check(tmp_path, **MIDDLE, **KINDS["adapter, bf16"], **seen, **tower)


def test_four_bits_are_planned_too(tmp_path: Path, make_policy: Callable[..., Policy]) -> None:
    make_policy(tiny=TinySize(hidden=512, layers=5, heads=4)).save(tmp_path / "base")
    four_bits = {"model__policy__base": tmp_path / "base", "model__policy__four_bit": "true"}
    check(tmp_path, **{**KINDS["adapter, bf16"], **four_bits, "model__policy__checkpointing": "true"})


@pytest.mark.parametrize("kind", ["all weights", "adapter, bf16"])
def test_the_passes_of_fine_tuning_are_planned_with_the_tower_before_them(
    tmp_path: Path, faces_file: Path, kind: str
) -> None:
    """Analyses, here all of one length, are longer than what is written in validation."""
    data = alike(tmp_path / "alike.jsonl", faces_file)
    own = KINDS.get(kind, {})
    assert check(tmp_path, "sft", **MIDDLE, **own, **data) == {"update"}


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
@pytest.mark.parametrize("kind", ["whole model", "adapter, bf16"])
def test_several_processes_are_planned_one_by_one(tmp_path: Path, strategy: str, kind: str) -> None:
    check(tmp_path, processes=2, **MIDDLE, **KINDS[kind], trainer__strategy=strategy, data__batch_size=2)


# --- dry runs ---


def setting(**changes: Any) -> Setting:
    config = PolicyConfig(tiny=TinySize(hidden=128, layers=12, heads=4), checkpointing=True)
    numbers: dict[str, Any] = {
        "batch_size": 2,
        "packs": 1,
        "minibatches": 1,
        "group_size": 8,
        "microbatches": 1,
        "max_tokens": 64,
        "analysis": 0,
    }
    known: dict[str, Any] = {
        "eval_batch_size": 4,
        "reference": False,
        "entropy": False,
        "eight_bit": False,
        "precision": "32-true",
    }
    return Setting(**{"policy": config, **numbers, **known, "spread": Spread()}).but(**changes)


def test_shallow_dry_runs_tell_what_a_deep_one_would() -> None:
    """The same model, once at its own depth and once drawn out from two and three layers."""
    shape = PromptShape(100, 300, 256)
    low, high, deep = (DryRun(setting(), layers).update(2, shape, 16, 64) for layers in (2, 3, 12))
    assert low + (high - low) * 10 == pytest.approx(deep, rel=0.01)


@pytest.mark.parametrize("layout", ["tree", "group", "rows"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_more_parts_need_less_down_to_a_completion_at_a_time(layout: str, checkpointing: bool) -> None:
    shape, told = PromptShape(20, 60, 16), setting(layout=layout, checkpointing=checkpointing)
    few, some, more = (DryRun(told, 2).update(1, shape, 8, 256, parts) for parts in (1, 2, 8))
    assert few > 1.5 * some > 1.5 * 1.5 * more


def test_a_gradient_through_the_entropies_keeps_more_of_the_logits() -> None:
    thin, shape = setting(tiny=TinySize(hidden=32, layers=1, heads=2)), PromptShape(10, 30, 16)
    without, with_gradient = (DryRun(thin.but(entropy=on), 1).update(1, shape, 8, 64) for on in (False, True))
    words = len(DryRun(thin, 1).network.head.weight)
    assert with_gradient - without == pytest.approx(3 * 512 * words * 4, rel=0.1)


def test_what_is_in_fp32_is_there_in_bf16_too_while_tokens_are_written() -> None:
    """Under autocast: what is trained, and a frozen head, unless it is in bf16 already."""
    for dtype, copied in (("float32", 1), ("bfloat16", 0)):
        mixed = setting(precision="bf16-mixed", lora=LoRA(rank=8, alpha=16), dtype=dtype)
        network = skeleton(mixed.policy)
        adapter, head = weights.trained(network.model) / 4, network.head.weight.numel()
        assert adapter > 0
        assert weights.low_copies(network, mixed) == 2 * (adapter + copied * head)
        assert weights.low_copies(network, mixed.but(precision="32-true")) == 0
        assert weights.low_copies(network, mixed.but(spread=Spread(2, True))) == 0


# --- several cards ---


def test_sharding_divides_the_state_and_gathers_while_it_computes() -> None:
    alone, both = plan(setting()), plan(setting(spread=Spread(2)))
    shared, kept = (plan(setting(spread=Spread(2, True, gather))) for gather in ("never", "always"))  # type: ignore[arg-type]
    assert both.buckets == alone.gradients
    assert (alone.buckets, shared.buckets) == (0, 0)
    for part in ("weights", "gradients", "optimizer"):
        assert getattr(shared, part) == getattr(alone, part) / 2 == getattr(both, part) / 2
    assert alone.rollout < shared.rollout < kept.rollout
    assert kept.rollout - alone.rollout > alone.weights / 2


def test_a_card_decides_whether_a_rollout_gathers_all_weights() -> None:
    spread = setting(spread=Spread(2, True))
    whole = plan(spread.but(spread=Spread(2, True, "always"))).peak
    assert settled(spread, whole + SYSTEM).gathers
    assert not settled(spread, whole + SYSTEM - 1).gathers
    assert settled(spread, None).gathers
    never = spread.but(spread=Spread(2, True, "never"))
    assert settled(never, 100 * whole) == never


def test_a_group_that_is_too_large_is_advised_to_be_trained_in_parts() -> None:
    """Long completions of a single prompt: packs are no more to be had, and all else costs time or changes the result."""
    told = setting(batch_size=1, group_size=16, max_tokens=512, eval_batch_size=1, checkpointing=False, min_pixels=784)
    needs = plan(told)
    card = plan(told.but(microbatches=4)).peak + SYSTEM
    said = verdict(told, needs, card)
    assert "set model.microbatches to 4: then" in said
    assert "checkpointing" not in said
    assert plan(told.but(microbatches=2)).peak + SYSTEM > card
    assert verdict(told.but(microbatches=4), plan(told.but(microbatches=4)), card).startswith("fits")


def test_what_is_sharded_is_not_advised_to_take_an_optimizer_in_8_bits() -> None:
    for spread, expected in ((Spread(2), "trainer.strategy to fsdp2"), (Spread(2, True, "never"), "fewer")):
        told = setting(spread=spread)
        needs = plan(told)
        said = verdict(told, needs, needs.peak * 0.6 + SYSTEM)
        assert "eight_bit" not in said
        assert expected == "fewer" or expected in said


def test_the_table_names_every_part() -> None:
    sizes = {"weights": GIB, "reference": 0, "gradients": GIB / 20, "buckets": GIB / 2, "optimizer": 1000 * GIB}
    phases = {"rollout": 3 * GIB, "validation": GIB, "update": 2 * GIB}
    needs = Plan(**sizes, **phases, tokens=100, rows=8, eval_rows=4, per_row=2**20)
    assert table(needs).splitlines() == [
        "  weights     1.00 GiB   base and adapter",
        "  gradients  51.20 MiB   of what is trained",
        "  buckets     0.50 GiB   in which gradients are exchanged",
        "  optimizer 1000.00 GiB   its moments",
        "  rollout     3.00 GiB   8 completions, 1.00 MiB of keys and values each",
        "  validation  1.00 GiB   4 answers, 1.00 MiB of keys and values each",
        "  update      2.00 GiB   100 tokens in a pack, 20.48 MiB each",
        "  peak      1004.55 GiB   in the rollout",
    ]


# --- the command ---


@pytest.fixture(scope="module")
def _planned_once() -> Iterator[None]:
    """What a setting needs is computed once for all commands, which takes seconds."""
    known: dict[str, Plan] = {}

    def planned(setting: Setting) -> Plan:
        return known[repr(setting)] if repr(setting) in known else known.setdefault(repr(setting), plan(setting))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fea.memory.plan.plan", planned)
        patch.setattr("fea.memory.advice.plan", planned)
        yield


def words_of(*configs: str) -> list[str]:
    """Words that name shipped configs."""
    return [word for name in configs for word in ("--config", str(CONFIGS / f"{name}.yaml"))]


HEADS = [("sft", ["sft"]), ("grpo", ["grpo"]), *((name, ["grpo", name]) for name in ("2b", "8b", "7b", "4bit"))]


@pytest.mark.usefixtures("_planned_once")
@pytest.mark.parametrize(("named", "configs"), HEADS)
def test_the_head_of_a_config_says_what_is_planned(
    capsys: pytest.CaptureFixture[str], named: str, configs: list[str]
) -> None:
    found = re.search(r"GPU with (\d+) GB, of which ([\d.]+) GiB are planned", (CONFIGS / f"{named}.yaml").read_text())
    assert found
    assert main(["plan", *words_of(*configs), f"--gpu={found[1]}GB"]) == 0
    shown = capsys.readouterr().out
    assert f"fits into {found[1]}.00 GiB" in shown
    peak = re.search(r"peak +([\d.]+) GiB", shown)
    assert peak
    assert abs(float(peak[1]) - float(found[2])) <= 0.1


@pytest.mark.usefixtures("_planned_once")
@pytest.mark.parametrize("card", ["24GB", "24 GiB", "24"])
def test_the_shipped_config_fits_its_card(capsys: pytest.CaptureFixture[str], card: str) -> None:
    assert main(["plan", "--config", str(CONFIGS / "grpo.yaml"), "--gpu", card]) == 0
    shown = capsys.readouterr().out
    assert "memory plan of Qwen/Qwen3-VL-4B-Instruct" in shown
    assert "fits into 24.00 GiB" in shown


def test_a_card_alone_is_told_the_shipped_configs_that_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned(setting: Setting) -> Plan:
        parts = dict.fromkeys(("reference", "gradients", "buckets", "optimizer", "rollout", "validation", "update"), 0)
        large = setting.policy.base.endswith(("7B-Instruct", "8B-Instruct"))
        weights = (20 if large else 10) / (2 if setting.policy.four_bit else 1) * GIB
        return Plan(weights, **parts, tokens=1, rows=1, eval_rows=1, per_row=1)

    monkeypatch.setattr("fea.memory.plan.plan", planned)
    monkeypatch.chdir(CONFIGS.parent)
    assert main(["plan", "--gpu", "11GB"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "of 11.00 GiB, 1.00 GiB are left to the system; on one such card"
    told = [re.split(r" {2,}", line.strip()) for line in lines]
    overlays = ["", "4bit", "2b", "8b", "8b 4bit", "7b", "7b 4bit"]
    ends = ["".join(f" --config configs/{name}.yaml" for name in names.split()) for names in overlays]
    assert [words[-1] for words in told] == [
        f"fea fit --config configs/{stage}.yaml{end}" for stage in ("sft", "grpo") for end in ends
    ]
    assert [words[0] for words in told] == [
        *("fits", "fits", "fits", "does not 20.00 GiB", "fits", "does not 20.00 GiB", "fits"),
    ] * 2


@pytest.mark.usefixtures("_planned_once")
def test_what_does_not_fit_comes_with_the_settings_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["plan", *words_of("grpo", "7b"), "--trainer.accumulate_grad_batches=2", "--gpu=16GB"]
    assert main(asked) == 0
    shown = capsys.readouterr().out.splitlines()[-1]
    assert shown.startswith("does not fit into 16.00 GiB")
    changes = re.findall(r"(trainer\.accumulate_grad_batches|model\.policy\.four_bit) to (\w+)", shown)
    assert [name for name, _ in changes] == ["trainer.accumulate_grad_batches", "model.policy.four_bit"]
    assert "eight_bit to" not in shown  # moments of an adapter are too few to matter
    assert main([*asked, *(f"--{name}={value}" for name, value in changes)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("fits")


def test_stage_1_is_planned_with_the_longest_analysis_that_is_there(
    tmp_path: Path, faces_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["plan", *words_of("sft"), "--model.generation.max_tokens=16"]
    assert main([*asked, f"--data.train=[{tmp_path / 'none.jsonl'}]"]) == 0
    blind = capsys.readouterr().out
    assert "assumed: analyses of up to 16 tokens (model.generation.max_tokens)" in blind
    assert main([*asked, f"--data.train=[{faces_file}]"]) == 0
    seen = capsys.readouterr().out
    found = re.search(r"the longest analysis of data.train has (\d+) tokens", seen)
    assert found
    analyses = [json.loads(line)["description"] for line in faces_file.read_text().splitlines()]
    longest = count_tokens(PolicyConfig(base="Qwen/Qwen3-VL-4B-Instruct"), max(analyses, key=len)) + 1
    assert int(found[1]) == longest > 16
    tokens = [int(told[1]) for told in re.finditer(r"(\d+) tokens in a pack", blind + seen)]
    assert tokens[1] - tokens[0] == 4 * (longest - 16)


@pytest.mark.parametrize("size", ["", "big", "0GB", "-4GB"])
def test_a_size_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], size: str) -> None:
    assert main(["plan", "--config", str(CONFIGS / "grpo.yaml"), f"--gpu={size}"]) == 2
    assert "is no size; give one such as 24GB" in capsys.readouterr().err


def test_running_out_of_memory_says_what_to_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(GRPOModule, "training_step", full)
    monkeypatch.setattr("fea.commands._trainer.total_memory", lambda: 1.02 * GIB)
    with pytest.raises(
        FEAError, match=r"out of memory at step 0; .* does not fit .* set trainer.accumulate_grad_batches"
    ):
        fit("grpo", tmp_path / "run", data__batch_size=8)
