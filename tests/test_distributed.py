"""Two processes: the same completions, the same weights, however they share the work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import fit_arguments

STRATEGIES = {"single": (1, "auto"), "ddp": (2, "ddp"), "fsdp2": (2, "fsdp2")}
OURS = '[{"class_path": "test_grpo.Vowels"}, {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", '
OURS += '"init_args": {"save_last": true, "every_n_train_steps": 1}}]'


def train(folder: Path, strategy: str, **settings: Any) -> dict[str, Any]:
    """Runs `fea fit` as processes of its own and returns the checkpoint."""
    devices, name = STRATEGIES[strategy]
    arguments = fit_arguments(
        "grpo", folder / strategy, trainer__callbacks=OURS, trainer__devices=devices, trainer__strategy=name,
        data__batch_size=4 // devices, trainer__max_steps=3, model__optimization__lr=1e-3, **settings,
    )  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "fea", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    checkpoint: dict[str, Any] = torch.load(folder / strategy / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint


@pytest.mark.parametrize("settings", [{}, {"model__policy__lora": '{"rank": 4, "alpha": 8}'}], ids=["full", "adapter"])
def test_two_processes_train_what_one_trains(tmp_path: Path, settings: dict[str, Any]) -> None:
    """With KL term and clipping. Tolerance: the sums of two processes are rounded in another order."""
    found = {strategy: train(tmp_path, strategy, **settings) for strategy in STRATEGIES}
    single = found["single"]["state_dict"]
    start = found["single"]["fea"]["reference"]
    assert any(not torch.equal(single[f"policy.{name}"], weight) for name, weight in start.items())
    for strategy in ("ddp", "fsdp2"):
        assert found[strategy]["state_dict"].keys() == single.keys()
        for name, weight in found[strategy]["state_dict"].items():
            torch.testing.assert_close(weight, single[name], rtol=0, atol=2e-4)  # steps of 1e-3
        for name, weight in found[strategy]["fea"]["reference"].items():
            torch.testing.assert_close(weight, start[name], rtol=0, atol=0)
