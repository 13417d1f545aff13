"""A run that is killed at any moment goes on to the weights of the run that was not, bit for bit."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SAVE_EACH_STEP, fit, fit_arguments
from processes import start

from fea.errors import FEAError
from fea.model import checkpoints
from fea.training.resume import _compared

REWARDS = ", ".join(f'{{"class_path": "fea.callbacks.{name}"}}' for name in ("AUReward", "FormatReward"))

STAGES: dict[str, dict[str, Any]] = {
    "sft": {
        "trainer__callbacks": f"[{SAVE_EACH_STEP}]", "trainer__accumulate_grad_batches": 2, "data__num_workers": 1,
        "data__mirror": "true", "model__optimization__decay": "linear",
    },
    "grpo": {
        "trainer__callbacks": f'[{SAVE_EACH_STEP}, {REWARDS}, {{"class_path": "test_grpo.Vowels"}}]', "model__mu": 2,
        "trainer__accumulate_grad_batches": 2, "model__objective__beta": 0.1, "model__minibatches": 2, "data__num_workers": 1,
    },
}  # fmt: skip


def settings(stage: str) -> dict[str, Any]:
    return {**STAGES[stage], "trainer__max_steps": 10, "model__optimization__lr": 5e-3, "data__train_faces": 20}


def test_settings_that_an_earlier_release_did_not_have_are_no_change() -> None:
    callbacks = [{"class_path": "A", "init_args": {"weight": 1.0}}, {"class_path": "B"}]
    then = {"trainer.callbacks": callbacks, "model.lr": 0.1}
    now = [{"class_path": "A", "init_args": {"weight": 1.0, "timeout": None}}, {"class_path": "B"}]
    assert _compared(then, {"trainer.callbacks": now, "model.lr": 0.1, "data.max_image_pixels": 9}) == []
    heavier = [{"class_path": "A", "init_args": {"weight": 2.0}}, {"class_path": "B"}]
    for changed in (heavier, now[:1], [*now, {"class_path": "C"}], now[::-1]):
        assert len(_compared(then, {"trainer.callbacks": changed, "model.lr": 0.1})) == 1
    assert _compared(then, {"trainer.callbacks": now}) == ["model.lr: 0.1 -> None"]


def test_another_draw_of_the_data_is_refused() -> None:
    then = {"data.init_args.balance": "emotion", "data.init_args.balance_power": 1.0}
    for changed in ({"data.init_args.balance": "both"}, {"data.init_args.balance_power": 0.5}):
        with pytest.raises(
            FEAError, match=r"data.balance\w*: the checkpoint was written with .* stand elsewhere in the data"
        ):
            _compared(then, then | changed)


def test_other_shares_of_forms_are_another_draw() -> None:
    answers = "model.init_args.policy.answers"
    mixed = {f"{answers}.only": 1, f"{answers}.first": 2.0}
    assert _compared(mixed, dict(reversed(mixed.items()))) == _compared({}, {answers: None}) == []
    for then, now in (({answers: None}, mixed), (mixed, {}), (mixed, mixed | {f"{answers}.after_thinking": 1})):
        with pytest.raises(FEAError, match=r"model\.policy\.answers: .* stand elsewhere in the data"):
            _compared(then, now)


def kill_at_random(arguments: list[str], checkpoints: Path, seed: int) -> None:
    """Starts the command as a process of its own and kills it some time after its first checkpoint."""
    process = start(arguments)
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("step*.ckpt")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.Random(seed).uniform(0, 1.0))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it was still running


def newest(checkpoints: Path) -> Path:
    """The newest checkpoint that was written whole."""
    for file in sorted(
        checkpoints.glob("step*.ckpt"), key=lambda f: int(f.stem.removeprefix("step").split("-")[0]), reverse=True
    ):
        try:
            torch.load(file, weights_only=True)
        except Exception:  # the one that was being written
            continue
        return file
    raise AssertionError("nothing was saved")


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, stage: str) -> None:
    whole = fit(stage, tmp_path / "whole", **settings(stage))
    arguments = fit_arguments(stage, tmp_path / "killed", **settings(stage))
    kill_at_random(arguments, tmp_path / "killed" / "checkpoints", seed=len(stage))
    resumed = fit(stage, tmp_path / "killed", ckpt_path=newest(tmp_path / "killed" / "checkpoints"), **settings(stage))
    assert resumed.trainer.global_step == whole.trainer.global_step == 10
    ours = dict(resumed.model.policy.named_parameters())
    start = dict(
        fit(stage, tmp_path / "start", **{**settings(stage), "trainer__max_steps": 0}).model.policy.named_parameters()
    )
    assert any(not torch.equal(start[name], weight) for name, weight in ours.items())
    for name, weight in whole.model.policy.named_parameters():
        assert torch.equal(ours[name], weight), name


@pytest.mark.parametrize("step", [1, 3, 5, 8])
def test_resuming_inside_a_rollout_changes_nothing(tmp_path: Path, step: int) -> None:
    """Four optimizer steps use one rollout: most of these checkpoints lie inside one."""
    whole = fit("grpo", tmp_path / "whole", **settings("grpo"))
    saved = next((tmp_path / "whole" / "checkpoints").glob(f"step{step}.ckpt"))
    resumed = fit("grpo", tmp_path / "resumed", ckpt_path=saved, **settings("grpo"))
    for (name, weight), other in zip(
        whole.model.policy.named_parameters(), resumed.model.policy.parameters(), strict=True
    ):
        assert torch.equal(weight, other), name
    moments = zip(whole.trainer.optimizers[0].state.values(), resumed.trainer.optimizers[0].state.values(), strict=True)
    assert all(torch.equal(a["exp_avg_sq"], b["exp_avg_sq"]) for a, b in moments)


def test_the_reference_of_a_fresh_adapter_is_the_base_and_comes_back_without_being_stored(tmp_path: Path) -> None:
    fresh = {**settings("grpo"), "model__policy__lora": '{"rank": 4, "alpha": 8}', "trainer__max_steps": 6}
    fit("grpo", tmp_path / "whole", **fresh)
    saved = tmp_path / "whole" / "checkpoints" / "step3.ckpt"
    reference = torch.load(saved, weights_only=True)["fea"]["reference"]
    assert all("lora_B" in name and not weight.any() for name, weight in reference.items())
    assert {weight.untyped_storage().nbytes() for weight in reference.values()} == {4}
    fit("grpo", tmp_path / "resumed", ckpt_path=saved, **fresh)
    whole, resumed = (
        torch.load(tmp_path / run / "checkpoints" / "step6.ckpt", weights_only=True) for run in ("whole", "resumed")
    )
    assert all(torch.equal(resumed["state_dict"][name], weight) for name, weight in whole["state_dict"].items())
    assert resumed["fea"]["reference"].keys() == reference.keys()


def test_a_checkpoint_holds_the_trainable_weights_only(tmp_path: Path) -> None:
    fit("sft", tmp_path / "run", model__policy__lora='{"rank": 2, "alpha": 4}', trainer__max_steps=1)
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["state_dict"]
    assert all("lora_" in name for name in checkpoint["state_dict"])


def test_a_checkpoint_of_the_other_stage_is_refused(tmp_path: Path) -> None:
    fit("sft", tmp_path / "sft", trainer__max_steps=1)
    with pytest.raises(FEAError, match="one of SFTModule and cannot be resumed by GRPOModule"):
        fit("grpo", tmp_path / "grpo", ckpt_path=tmp_path / "sft" / "checkpoints" / "last.ckpt")


def test_the_notes_of_a_checkpoint_tell_all_data_that_was_seen(tmp_path: Path, faces_file: Path) -> None:
    text = faces_file.read_text().replace('"dataset": "faces"', '"dataset": "mine"')
    (tmp_path / "mine.jsonl").write_text(text)
    source = json.dumps([{"file": str(tmp_path / "mine.jsonl"), "image_root": str(faces_file.parent)}])
    fit("sft", tmp_path / "sft", data="FEADataModule", data__train=source, trainer__max_steps=1)
    fit("grpo", tmp_path / "grpo", model__init_from=tmp_path / "sft", trainer__max_steps=1)
    assert checkpoints.stored(str(tmp_path / "grpo")).datasets == {"faces", "mine"}


@pytest.mark.parametrize("end", ["trainer__max_steps", "trainer__max_epochs"])
@pytest.mark.parametrize("saved", ["step2", "epoch0"])
def test_a_checkpoint_at_the_end_of_an_epoch_begins_the_next_one(tmp_path: Path, saved: str, end: str) -> None:
    """Two batches an epoch; resumed at the end of the first, and once more within the second."""
    each_epoch = (
        '{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"filename": "epoch{epoch}", '
        '"save_on_train_epoch_end": true, "save_top_k": -1, "auto_insert_metric_name": false}}'
    )
    own = {
        "data__train_faces": 8,
        "trainer__callbacks": f"[{SAVE_EACH_STEP}, {each_epoch}]",
        "model__optimization__lr": 1e-3,
        "trainer__max_steps": -1,
        end: {"trainer__max_steps": 6, "trainer__max_epochs": 3}[end],
    }
    whole = fit("sft", tmp_path / "whole", **own)
    fit("sft", tmp_path / "once", ckpt_path=tmp_path / "whole" / "checkpoints" / f"{saved}.ckpt", **own)
    twice = fit("sft", tmp_path / "twice", ckpt_path=tmp_path / "once" / "checkpoints" / "step3.ckpt", **own)
    assert twice.trainer.global_step == whole.trainer.global_step == 6
    for (name, weight), other in zip(
        whole.model.policy.named_parameters(), twice.model.policy.parameters(), strict=True
    ):
        assert torch.equal(weight, other), name


@pytest.mark.parametrize("earlier", [True, False])
def test_a_best_score_of_an_earlier_release_gives_way_to_the_next_validation(
    tmp_path: Path, earlier: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was the mean of other numbers, and mostly higher."""
    told: list[str] = []
    monkeypatch.setattr("fea.training.resume.rank_zero_info", told.append)
    own = {"trainer__limit_val_batches": 1, "trainer__val_check_interval": 1}
    fit("sft", tmp_path / "run", **own, trainer__max_steps=1)
    folder = tmp_path / "run" / "checkpoints"
    checkpoint, best = torch.load(folder / "last.ckpt", weights_only=True), str(folder / "best.ckpt")
    (state,) = (state for name, state in checkpoint["callbacks"].items() if "'val/score'" in name)
    score = torch.tensor(0.9)
    state |= {"best_model_score": score, "kth_value": score, "best_k_models": {best: score}}
    if earlier:
        del checkpoint["scored"]
    torch.save(checkpoint, folder / "last.ckpt")
    run = fit("sft", tmp_path / "run", ckpt_path=folder / "last.ckpt", **own, trainer__max_steps=2)
    (saver,) = (saver for saver in run.trainer.checkpoint_callbacks if getattr(saver, "monitor", "") == "val/score")
    assert saver.best_model_path == best
    assert torch.load(best, weights_only=True)["global_step"] == (2 if earlier else 1)
    assert float(saver.best_model_score) == pytest.approx(
        float(run.trainer.callback_metrics["val/score"]) if earlier else 0.9
    )
    assert [line for line in told if "val/score is the mean of au_f1 and emotion_f1 now" in line and best in line] == (
        [line for line in told if "val/score" in line]
    )
    assert bool([line for line in told if "val/score" in line]) == earlier
