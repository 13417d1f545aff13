"""Runs that an earlier release wrote (`tests/before/make.py`) are used, gone on with, and told apart from mistakes."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CONFIGS, TESTS

from fea.cli import main
from fea.drawn.faces import write_faces
from fea.model.checkpoints import load_policy, stored
from fea.model.network import Network

BEFORE = TESTS / "before"
sys.path.append(str(BEFORE))

from make import COMMON, STAGES  # noqa: E402

SHIPPED: dict[str, dict[str, Any]] = {
    "sft": {},
    "grpo": {
        "model.objective.advantage": "sum_then_normalize",
        "model.objective.scale": "group",
        "data.balance": "null",
        "data.balance_power": 1.0,
    },
}


@pytest.fixture(autouse=True)
def four_forbidden_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """That release forbade no more tokens than would break the next pass: another distribution, and so other weights."""

    def breaking(network: Network) -> set[int]:
        return {getattr(network.model.config, name) for name in network.family.never_sampled}

    monkeypatch.setattr(Network, "_never_written", breaking)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with these runs, with their checkpoints of the third step and of the end."""
    for stage in STAGES:
        shutil.copytree(BEFORE / stage, tmp_path / stage)
        shutil.copy(BEFORE / stage / "checkpoints" / "last.ckpt", tmp_path / f"{stage}.ckpt")
    write_faces(tmp_path / "bare", 12, seed=3, text="none")
    (tmp_path / "common.yaml").write_text(json.dumps(COMMON))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def go_on(stage: str) -> str:
    """The command of then, with the names of now and what the shipped config was then, from the third step."""
    Path(f"{stage}/checkpoints/last.ckpt").unlink()
    options = {**STAGES[stage], **SHIPPED[stage], "trainer.logger.init_args.name": stage}
    if "model.beta" in options:
        options["model.objective.beta"] = options.pop("model.beta")
    words = [f"--{name}={json.dumps(value) if isinstance(value, list) else value}" for name, value in options.items()]
    files = [str(CONFIGS / f"{name}.yaml") for name in (stage, "demo")]
    configs = [word for file in (*files, "common.yaml") for word in ("--config", file)]
    assert main(["fit", *configs, *words, "--resume"]) == 0
    return f"{stage}/checkpoints/last.ckpt"


def weights(file: str) -> dict[str, Any]:
    return dict(torch.load(file, weights_only=True)["state_dict"])


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_goes_on_to_the_weights_at_which_it_ended_then(
    folder: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stage 1 with what its synthesis had written, stage 2 from inside a rollout. No setting counts as another one."""
    told: list[str] = []
    monkeypatch.setattr("fea.training.resume.rank_zero_info", told.append)
    then, now = weights(f"{stage}.ckpt"), weights(go_on(stage))
    assert then.keys() == now.keys()
    start = weights(f"{stage}/checkpoints/step3.ckpt")
    assert any((then[name] - weight).abs().max() > 1e-3 for name, weight in start.items())
    for name, weight in then.items():
        torch.testing.assert_close(now[name], weight, rtol=0, atol=1e-6)
    assert told == []


def test_what_was_written_between_epochs_is_written_again_to_the_byte(folder: Path) -> None:
    """The second round of the synthesis was not written yet, half of the first batch of it was."""

    def written() -> dict[str, bytes]:
        """Without the fingerprint of the weights, in which the last bit of a processor shows."""
        files = Path("sft/synthesis").glob("round-2.jsonl*")
        return {file.name: re.sub(rb'"model": "[0-9a-f]{32}"', b"", file.read_bytes()) for file in files}

    then = written()
    for file in Path("sft/synthesis").glob("round-2.jsonl*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    go_on("sft")
    assert written() == then


def test_a_run_answers_and_says_what_it_is(folder: Path) -> None:
    told = stored("grpo.ckpt")
    assert (told.stage, told.emotions[:2], told.datasets) == ("GRPOModule", ("anger", "disgust"), {"faces"})
    assert told.reference.keys() == {name.removeprefix("policy.") for name in weights("grpo/checkpoints/step3.ckpt")}
    policy, _ = load_policy("grpo.ckpt")
    assert policy.config == told.policy
    assert main(["analyze", "bare/images", "--model", "grpo.ckpt", "--out", "answers.csv", "--max_tokens", "3"]) == 0
    assert len(Path("answers.csv").read_text().splitlines()) >= 13


@pytest.mark.parametrize("stage", STAGES)
def test_the_config_of_then_is_refused_with_the_names_of_now(
    folder: Path, stage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config", os.path.join(stage, "config.yaml")]) == 2
    *_, last = capfd.readouterr().err.splitlines()
    assert last.startswith("fea: error: ")
    assert "there is no setting 'model.policy.attention' anymore" in last
