"""What a checkpoint says of its run, whose weights come along, and what is refused."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, small_config

from fea.errors import FEAError
from fea.model import checkpoints, frozen
from fea.model.archive import read
from fea.model.checkpoints import Stored
from fea.model.config import LoRA
from fea.model.policy import Policy
from fea.model.runs import beside
from fea.prompts.prompt import PROMPT_VERSION


def save(file: Path, init_from: str | None = None, **changes: Any) -> Path:
    weights = changes.pop("weights", {"policy.model.w": torch.tensor([1.0])})
    start = {"init_from": init_from, "inherits": changes.pop("inherits", True), "near": changes.pop("near", {})}
    stored = Stored(small_config(**changes), ("fear",), frozenset({"b", "a"}), "SFTModule", **start)
    torch.save({"state_dict": weights, "fea": stored.plain()}, file)
    return file


def test_a_policy_is_described_so_that_it_can_be_built_again(tmp_path: Path) -> None:
    for changes in ({"lora": LoRA(rank=3), "dtype": "bfloat16"}, {"lora": None, "base": "hub/name"}):
        stored = checkpoints.stored(str(save(tmp_path / "x.ckpt", **changes)))
        assert stored.policy == small_config(**changes)
        assert stored.emotions == ("fear",)
        assert stored.datasets == {"a", "b"}
        assert stored == Stored.of({"fea": stored.plain()})


def test_folders_are_found_from_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "first.ckpt").touch()
    monkeypatch.chdir(tmp_path)
    stored = checkpoints.stored(str(save(tmp_path / "x.ckpt", "first.ckpt", base="base")))
    assert (stored.policy.base, stored.init_from) == (str(tmp_path / "base"), str(tmp_path / "first.ckpt"))


def test_another_version_of_the_prompt_is_refused(tmp_path: Path) -> None:
    stored = read(save(tmp_path / "x.ckpt"))
    stored["fea"]["prompt"] = "0"
    with pytest.raises(FEAError, match=f"prompt version 0, this is version {PROMPT_VERSION}"):
        Stored.of(stored)


@pytest.mark.parametrize(
    ("notes", "told"),
    [
        ({}, "'prompt' is missing"),
        ("x", "dictionary update"),
        (None, "not iterable"),
        ({"policy": {"later": 1}}, "unexpected keyword argument 'later'"),
        ({"policy": {"tiny": 3}}, "must be a mapping"),
        ({"emotions": 3}, "not iterable"),
    ],
)
def test_notes_that_nobody_understands_are_one_sentence(tmp_path: Path, notes: Any, told: str) -> None:
    checkpoint = read(save(tmp_path / "x.ckpt"))
    if isinstance(notes, dict) and notes:
        policy = {**checkpoint["fea"]["policy"], **notes.get("policy", {})}
        checkpoint["fea"] = {**checkpoint["fea"], **notes, "policy": policy}
    else:
        checkpoint["fea"] = notes
    torch.save(checkpoint, tmp_path / "odd.ckpt")
    with pytest.raises(FEAError, match=f"odd.ckpt' does not say how its model is built .*{told}.*: a later release"):
        checkpoints.stored(str(tmp_path / "odd.ckpt"))


# --- bases ---


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """The folder of a run with an adapter that was made on a base beside it, both in another place now."""
    Policy(small_config(), {}).save(tmp_path / "before" / "base")
    config = small_config(base=str(tmp_path / "before" / "base"), lora=LoRA(rank=2, alpha=4))
    policy = Policy(config, {})
    near = {"base": beside(tmp_path / "before" / "run", config.base)}
    told = Stored(config, ("fear",), frozenset(), "SFTModule", frozen=frozen.digest(policy), near=near)
    weights = {f"policy.{name}": weight.detach() for name, weight in policy.trainable().items()}
    (tmp_path / "before" / "run" / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": weights, "fea": told.plain()}, tmp_path / "before" / "run" / "checkpoints" / "last.ckpt")
    (tmp_path / "before").rename(tmp_path / "now")
    return tmp_path / "now" / "run"


def test_a_base_that_was_moved_with_its_run_is_found(moved: Path) -> None:
    policy, told = checkpoints.load_policy(str(moved), "cpu")
    assert policy.config.base == told.policy.base == str(moved.parent / "base")


def test_a_base_that_is_elsewhere_is_named(moved: Path) -> None:
    elsewhere = (moved.parent / "base").rename(moved.parent / "elsewhere")
    with pytest.raises(
        FEAError, match=r"not at '.*before/base', .* nor at '.*now/base', .*; name it with --base FOLDER"
    ):
        checkpoints.load_policy(str(moved), "cpu")
    assert checkpoints.load_policy(str(moved), "cpu", str(elsewhere))[1].policy.base == str(elsewhere)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"seed": 1}, "is not the model that the checkpoint was trained on: its frozen weights are others"),
        ({"layers": 1}, "the weights belong to another model"),
        (None, "'tiny' is not the model that"),
    ],
)
def test_another_base_is_refused(moved: Path, tmp_path: Path, other: dict[str, int] | None, told: str) -> None:
    if other:
        Policy(small_config(tiny=replace(SMALL, **other)), {}).save(tmp_path / "other")
    with pytest.raises(FEAError, match=told):
        checkpoints.load_policy(str(moved), "cpu", str(tmp_path / "other") if other else "tiny")


def test_the_run_that_weights_are_inherited_from_is_found_beside_and_missed_by_name(tmp_path: Path) -> None:
    (tmp_path / "a" / "runs" / "grpo").mkdir(parents=True)
    first = save(tmp_path / "a" / "runs" / "sft.ckpt")
    near = {"init_from": beside(tmp_path / "a" / "runs" / "grpo", str(first))}
    second = save(tmp_path / "a" / "runs" / "grpo" / "x.ckpt", str(first), weights={}, near=near)
    (tmp_path / "a").rename(tmp_path / "b")
    second = tmp_path / "b" / "runs" / "grpo" / "x.ckpt"
    assert list(checkpoints.weights(str(second))) == ["model.w"]
    (tmp_path / "b" / "runs" / "sft.ckpt").unlink()
    with pytest.raises(
        FEAError, match=r"needs the weights of the run that it started from, and '.*sft.ckpt' is not there"
    ):
        checkpoints.weights(str(second))


def test_weights_of_earlier_stages_come_along_and_later_ones_win(tmp_path: Path) -> None:
    whole = {"policy.model.a": torch.tensor([1.0]), "policy.model.b": torch.tensor([2.0]), "head.x": torch.zeros(1)}
    first = save(tmp_path / "first.ckpt", weights=whole)
    later = {"policy.model.b": torch.tensor([3.0]), "policy.model.c": torch.tensor([4.0])}
    second = save(tmp_path / "second.ckpt", str(first), weights=later)
    found = {name: float(weight) for name, weight in checkpoints.weights(str(second)).items()}
    assert found == {"model.a": 1.0, "model.b": 3.0, "model.c": 4.0}
    assert checkpoints.weights(None) == {}


def test_an_earlier_stage_is_not_needed_when_the_later_one_holds_all_it_changed(tmp_path: Path) -> None:
    alone = save(tmp_path / "second.ckpt", str(tmp_path / "deleted.ckpt"), inherits=False)
    assert list(checkpoints.weights(str(alone))) == ["model.w"]


def test_what_was_seen_is_remembered(tmp_path: Path) -> None:
    assert checkpoints.stored(str(save(tmp_path / "x.ckpt"))).datasets == {"a", "b"}


@pytest.mark.parametrize(("alpha", "fits"), [(8, True), (16, False)])
def test_an_adapter_is_continued_as_it_was(tmp_path: Path, alpha: int, fits: bool) -> None:
    file = str(save(tmp_path / "x.ckpt", lora=LoRA(rank=4, alpha=8)))
    with nullcontext() if fits else pytest.raises(FEAError, match=r"rank 4 and alpha 16, but .* rank 4 and alpha 8"):
        checkpoints.check_adapter(file, small_config(lora=LoRA(rank=4, alpha=alpha)))
