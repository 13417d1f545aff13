"""A run that is asked to stop saves, says how to go on, and does."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import torch
from conftest import fit, fit_arguments
from processes import start
from test_faults import PLACE

SETTINGS = {
    "trainer__callbacks": '[{"class_path": "fea.callbacks.FormatReward"}, {"class_path": "test_faults.Moments"}]',
    "trainer__max_steps": 20,
    "trainer__accumulate_grad_batches": 2, "model__mu": 2, "model__optimization__lr": 1e-3,
}  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_stops_at_the_next_step(tmp_path: Path, number: signal.Signals) -> None:
    arguments = fit_arguments("grpo", tmp_path / "run", **SETTINGS)
    moments = tmp_path / "moments"
    moments.touch()
    process = start(arguments, fresh=number == signal.SIGTERM, **{PLACE: str(moments)})
    deadline = time.monotonic() + 120
    while moments.read_text().count("update") < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert f"stopped by {number.name} after" in last
    assert "--resume goes on" in last
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert 0 < saved["global_step"] < 20
    if number == signal.SIGTERM:
        resumed = fit("grpo", tmp_path / "run", resume=True, **SETTINGS)
        whole = fit("grpo", tmp_path / "whole", **SETTINGS)
        assert resumed.trainer.global_step == 20
        for (name, weight), other in zip(
            whole.model.policy.named_parameters(), resumed.model.policy.parameters(), strict=True
        ):
            assert torch.equal(weight, other), name
