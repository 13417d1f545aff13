"""Every shipped config is accepted by the command line, and says what it needs."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CONFIGS

from fea.cli import main

LOOP = CONFIGS / "iterate.yaml"  # of `fea iterate`, not of `fea fit`
FILES = sorted(file for file in CONFIGS.rglob("*.yaml") if file != LOOP)
STAGES = ("sft", "grpo", "empo")
OVERLAYS = [name for file in FILES if (name := file.relative_to(CONFIGS).with_suffix("").as_posix()) not in STAGES]


def test_no_config_is_forgotten() -> None:
    assert len(FILES) == 11 + 8  # and the paper's benchmarks
    assert not [file for file in CONFIGS.rglob("*") if file.is_file() and file.suffix != ".yaml"]


def leaves(settings: Any, place: str = "") -> dict[str, Any]:
    """Values by dotted name; lists count as one."""
    if not isinstance(settings, dict) or not settings:
        return {place: settings}
    return {k: v for name, value in settings.items() for k, v in leaves(value, f"{place}.{name}").items()}


def printed(capsys: pytest.CaptureFixture[str], *names: str) -> dict[str, Any]:
    """The settings that a command would use."""
    with pytest.raises(SystemExit, match="0"):
        main(
            ["fit", *(word for name in names for word in ("--config", str(CONFIGS / f"{name}.yaml"))), "--print_config"]
        )
    return leaves(yaml.safe_load(capsys.readouterr().out))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("overlay", [None, *OVERLAYS])
def test_every_setting_of_a_config_is_accepted_and_wins(
    stage: str, overlay: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [name for name in (stage, overlay) if name]
    settings = printed(capsys, *names)
    own = leaves(yaml.safe_load((CONFIGS / f"{names[-1]}.yaml").read_text()))
    own.pop(".trainer.callbacks", None)  # printed with all their settings
    assert {name: settings.get(name) for name in own} == own


@pytest.mark.parametrize(("stage", "patience"), [("sft", 2), ("grpo", 4)])
def test_early_stopping_is_there_to_be_uncommented(
    stage: str, patience: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (CONFIGS / f"{stage}.yaml").read_text()
    text, lines = re.subn(
        r"^    # (- class_path: \S+EarlyStopping|  init_args: \{monitor)", r"    \1", text, flags=re.MULTILINE
    )
    (tmp_path / "mine.yaml").write_text(text)
    callbacks = printed(capsys, str(tmp_path / "mine"))[".trainer.callbacks"]
    (stopping,) = (c["init_args"] for c in callbacks if c["class_path"].endswith(".EarlyStopping"))
    assert lines == 2
    assert (stopping["monitor"], stopping["mode"], stopping["patience"]) == ("val/score", "max", patience)


@pytest.mark.parametrize("stage", STAGES)
def test_stages_keep_their_best_and_their_last_checkpoint(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    callbacks = printed(capsys, stage)[".trainer.callbacks"]
    best, newest = (c["init_args"] for c in callbacks if c["class_path"].endswith(".ModelCheckpoint"))
    assert (best["filename"], best["monitor"], best["mode"], best["save_last"]) == ("best", "val/score", "max", True)
    assert (newest["monitor"], newest["mode"], newest["save_top_k"]) == ("step", "max", 2)


def test_stage_2_starts_from_stage_1_and_is_paid_by_the_means_over_classes(capsys: pytest.CaptureFixture[str]) -> None:
    settings = printed(capsys, "grpo")
    rewards = [c for c in settings[".trainer.callbacks"] if c["class_path"].endswith("Reward")]
    assert [c["class_path"].rpartition(".")[2] for c in rewards] == 2 * ["MacroF1Reward"] + ["FormatReward"]
    assert [c["init_args"].get("of") for c in rewards] == ["au", "emotion", None]
    assert {c["init_args"]["weight"] for c in rewards} == {1.0}
    goal = {name: settings[f".model.init_args.objective.{name}"] for name in ("advantage", "scale")}
    assert goal == {"advantage": "normalize_then_sum", "scale": "batch"}  # "group" would make all faces count alike
    first = printed(capsys, "sft")
    name = "{.trainer.logger.init_args.save_dir}/{.trainer.logger.init_args.name}"
    assert settings[".model.init_args.init_from"] == re.sub(r"\{(.*?)\}", lambda m: str(first[m[1]]), name)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_config_opens_with_its_command_hardware_and_time(file: Path) -> None:
    head = "\n".join(itertools.takewhile(lambda line: line.startswith("#"), file.read_text().splitlines()))
    assert re.search(rf"#   fea fit .*--config configs/{file.relative_to(CONFIGS).as_posix()}", head)
    assert "# Hardware: " in head
    assert re.search(r"\btime\b", head, re.IGNORECASE) or "Not run on GPUs yet" in head
