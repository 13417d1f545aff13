"""What a checkpoint says of its run, whose weights come along, and what is refused."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_config

from fea.errors import FEAError
from fea.model import checkpoints
from fea.model.archive import read
from fea.model.checkpoints import Stored
from fea.model.config import LoRA
from fea.prompts.prompt import PROMPT_VERSION


def save(file: Path, init_from: str | None = None, **changes: Any) -> Path:
    weights = changes.pop("weights", {"policy.model.w": torch.tensor([1.0])})
    start = {"init_from": init_from, "inherits": changes.pop("inherits", True)}
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
