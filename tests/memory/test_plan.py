"""The memory plan against the bytes that training takes, and what it says about a card."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CONFIGS, fit, fit_arguments
from processes import ended, start_together

from fea.cli import main
from fea.errors import FEAError
from fea.grpo import GRPOModule
from fea.memory.advice import table
from fea.memory.dry_run import DryRun, blank_prompts
from fea.memory.plan import GIB, Plan, Setting, plan
from fea.model.config import PolicyConfig, TinySize

SIZES = {"small": (128, 3), "middle": (256, 4), "large": (512, 5)}  # width and layers
KINDS: dict[str, dict[str, Any]] = {
    "whole model": {},
    "adapter, checkpointing": {
        "model__policy__lora": '{"rank": 8, "alpha": 16}',
        "model__policy__checkpointing": "true",
    },
    "adapter, bf16": {
        "model__policy__lora": '{"rank": 8, "alpha": 16}',
        "model__policy__dtype": "bfloat16",
        "trainer__precision": "bf16-mixed",
    },
}


def check(folder: Path, stage: str = "grpo", processes: int = 1, **settings: Any) -> None:
    """Holds that each phase of a fit takes what is planned, in each of its processes."""
    measuring = {"class_path": "measuring.Measured", "init_args": {"folder": str(folder)}}
    common = {
        "model__generation__max_tokens": 32, "data__batch_size": 4, "data__eval_batch_size": 8, "data__val_faces": 8,
        "trainer__accumulate_grad_batches": 2, "trainer__max_steps": 2, "trainer__limit_val_batches": 1,
        "trainer__val_check_interval": 4, "trainer__callbacks": json.dumps([{"class_path": "test_grpo.Vowels"}, measuring]),
    }  # fmt: skip
    words = fit_arguments(stage, folder / "run", **{**common, **settings}, trainer__devices=processes)
    for process in start_together(words, processes):
        done = ended(process)
        assert done.returncode == 0, done.stderr[-2000:]
    for rank in range(processes):
        told = json.loads((folder / f"rank{rank}.json").read_text())
        for phase, planned in told["planned"].items():
            print(
                f"{phase} of process {rank}: planned {planned / 2**20:.1f} MiB, measured {told['measured'][phase] / 2**20:.1f}"
            )
        peaks = max(told["planned"].values()), max(told["measured"].values())
        assert abs(peaks[0] / peaks[1] - 1) < 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_the_plan_is_within_10_percent_of_what_training_takes(tmp_path: Path, size: str, kind: str) -> None:
    hidden, layers = SIZES[size]
    check(tmp_path, **{**KINDS[kind], "model__policy__tiny__hidden": hidden, "model__policy__tiny__layers": layers})


def test_shallow_dry_runs_tell_what_a_deep_one_would() -> None:
    """The same model, once at its own depth and once drawn out from two and four layers."""
    config = PolicyConfig(tiny=TinySize(hidden=128, layers=12, heads=4), checkpointing=True)
    prompts, ids = blank_prompts(2, 100, 300, 256), torch.full((16, 64), 2)
    low, high, deep = (DryRun(config, layers, False).update(prompts, ids) for layers in (2, 4, None))
    assert low + (high - low) / 2 * 10 == pytest.approx(deep, rel=0.01)


def test_the_table_names_every_part() -> None:
    needs = Plan(GIB, GIB / 20, 1000 * GIB, 3 * GIB, 2 * GIB, tokens=100, rows=8, per_row=2**20)
    assert table(needs).splitlines() == [
        "  weights     1.00 GiB   base and adapter",
        "  gradients  51.20 MiB   of what is trained",
        "  optimizer 1000.00 GiB   its moments",
        "  rollout     3.00 GiB   8 completions, 1.00 MiB of keys and values each",
        "  update      2.00 GiB   100 tokens in a pack, 20.48 MiB each",
        "  peak      1004.05 GiB   in the rollout",
    ]
    assert [line.split()[0] for line in table(needs._replace(rollout=0)).splitlines()[3:]] == ["update", "peak"]


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


@pytest.mark.usefixtures("_planned_once")
@pytest.mark.parametrize("card", ["24GB", "24 GiB", "24"])
def test_the_shipped_config_fits_its_card(capsys: pytest.CaptureFixture[str], card: str) -> None:
    assert main(["plan", "--config", str(CONFIGS / "grpo.yaml"), "--gpu", card]) == 0
    shown = capsys.readouterr().out
    assert "memory plan of Qwen/Qwen2.5-VL-3B-Instruct" in shown
    assert "fits into 24.00 GiB" in shown


@pytest.mark.usefixtures("_planned_once")
def test_what_does_not_fit_comes_with_the_settings_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    configs = ["--config", str(CONFIGS / "grpo.yaml"), "--config", str(CONFIGS / "7b.yaml")]
    large = ["--data.batch_size=16", "--trainer.accumulate_grad_batches=1"]
    assert main(["plan", *configs, *large, "--gpu=16GB"]) == 0
    shown = capsys.readouterr().out.splitlines()[-1]
    assert shown.startswith("does not fit into 16.00 GiB")
    found = re.search(r"trainer.accumulate_grad_batches to (\d+)", shown)
    assert found
    large[1] = f"--trainer.accumulate_grad_batches={found[1]}"
    assert main(["plan", *configs, *large, "--gpu=16GB"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("fits")


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
