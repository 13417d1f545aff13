"""A run's folder: files that are whole or not there, one run at a time, and a resumed run that knows where it stands."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SAVE_EACH_STEP, fit, fit_arguments
from lightning.pytorch.callbacks import Callback
from processes import run

from fea.cli import main
from fea.errors import FEAError
from fea.system import randomness
from fea.system.files import whole
from fea.training.folder import RunFolder
from fea.training.resume import WholeFiles

# --- files ---


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"old")
    with pytest.raises(TypeError), whole(file) as stream:
        stream.writelines([b"new, but", None])  # type: ignore[list-item]
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


class Payload:
    """Leaves a file behind when it is unpickled."""

    trace: Path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch '{Payload.trace}'",))


def test_a_checkpoint_with_a_pickle_payload_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit("sft", tmp_path / "run", trainer__max_steps=1)
    Payload.trace = tmp_path / "it ran"
    good = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(good, weights_only=True)
    torch.save({**checkpoint, "payload": Payload()}, good)
    with pytest.raises(FEAError, match="holds more than tensors and plain values"):
        WholeFiles().load_checkpoint(good)
    for way in ([f"--ckpt_path={good}"], ["--ckpt_path=last"]):
        assert main([*fit_arguments("sft", tmp_path / "run"), *way]) == 2
        assert "holds more than tensors and plain values" in capsys.readouterr().err
    assert main([*fit_arguments("sft", tmp_path / "again", model__init_from=good)]) == 2
    assert not Payload.trace.exists()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(good, weights_only=True)


def test_a_full_disk_is_one_sentence_and_earlier_checkpoints_stay_whole(tmp_path: Path) -> None:
    arguments = fit_arguments("sft", tmp_path / "run", trainer__callbacks=f"[{SAVE_EACH_STEP}]", trainer__max_steps=2)
    assert run(arguments).returncode == 0
    kept = {file: file.read_bytes() for file in (tmp_path / "run" / "checkpoints").glob("*.ckpt")}
    size = max(map(len, kept.values()))
    arguments = fit_arguments("sft", tmp_path / "run", trainer__callbacks=f"[{SAVE_EACH_STEP}]", trainer__max_steps=4)
    done = run([*arguments, "--resume"], file_size=size // 2)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot be written" in done.stderr.splitlines()[-1]
    assert {file: file.read_bytes() for file in (tmp_path / "run" / "checkpoints").iterdir()} == kept


# --- folders ---


def test_the_newest_checkpoint_has_the_most_steps_and_can_be_read(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).newest() is None
    fit("sft", tmp_path / "run", trainer__callbacks=f"[{SAVE_EACH_STEP}]", trainer__max_steps=3)
    folder = tmp_path / "run" / "checkpoints"
    (folder / "last.ckpt").unlink()
    assert RunFolder(tmp_path / "run").newest() == folder / "step3.ckpt"
    cut = (folder / "step3.ckpt").read_bytes()[:-100]
    (folder / "step3.ckpt").write_bytes(cut)
    with pytest.warns(UserWarning, match=r"step3.ckpt' cannot be read"):
        assert RunFolder(tmp_path / "run").newest() == folder / "step2.ckpt"


def test_a_second_run_is_kept_out_of_the_folder(tmp_path: Path) -> None:
    lock = RunFolder(tmp_path / "run").claim()
    config = (tmp_path / "run" / ".lock", tmp_path / "run" / "config.yaml")
    refused = run(fit_arguments("sft", tmp_path / "run", trainer__max_steps=1))
    assert refused.returncode == 2
    assert "another run is writing into" in refused.stderr.splitlines()[-1]
    assert [file.exists() for file in config] == [True, False]
    lock.close()
    assert run(fit_arguments("sft", tmp_path / "run", trainer__max_steps=1)).returncode == 0


def test_what_a_killed_process_left_unfinished_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / "checkpoints" / ".last.ckpt.123.part"
    left.parent.mkdir()
    left.touch()
    RunFolder(tmp_path).claim().close()
    assert not left.exists()


# --- resuming ---


def weights(trained: Any) -> list[torch.Tensor]:
    return list(trained.model.policy.parameters())


def test_resume_goes_on_from_the_newest_checkpoint_or_starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    common = {"model__optimization__lr": 1e-3, "trainer__callbacks": f"[{SAVE_EACH_STEP}]"}
    longer = fit("sft", tmp_path / "whole", trainer__max_steps=6, **common)
    fit("sft", tmp_path / "run", trainer__max_steps=3, resume=True, **common)
    assert "holds no checkpoint yet; starting" in caplog.text
    resumed = fit("sft", tmp_path / "run", trainer__max_steps=6, resume=True, **common)
    assert "resume: from " in caplog.text
    assert "resumed with other settings: trainer.max_steps: 3 -> 6" in caplog.text
    assert resumed.trainer.global_step == 6
    assert all(torch.equal(a, b) for a, b in zip(weights(longer), weights(resumed), strict=True))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"data__batch_size": 8}, "data.batch_size: the checkpoint was written with 4, and with 8"),
        ({"model__group_size": 4}, "model.group_size: the checkpoint was written with 8, and with 4"),
        ({"data__train_faces": 40}, "data.examples: the checkpoint was written with 32, and with 40"),
    ],
)
def test_settings_that_would_move_its_place_are_refused(tmp_path: Path, changed: dict[str, int], told: str) -> None:
    fit("grpo", tmp_path / "run", trainer__max_steps=1)
    with pytest.raises(FEAError, match=told):
        fit("grpo", tmp_path / "run", trainer__max_steps=2, resume=True, **changed)


def test_resume_and_a_checkpoint_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(FEAError, match="give either --resume or --ckpt_path"):
        fit("sft", tmp_path / "run", resume=True, ckpt_path="x.ckpt")


class Dice(Callback):
    """Draws from every generator that a user's callback might."""

    def __init__(self) -> None:
        self.drawn: list[float] = []

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        self.drawn += [random.random(), float(np.random.rand()), float(torch.rand(()))]


def test_random_numbers_go_on_where_they_were(tmp_path: Path) -> None:
    callbacks = f'[{SAVE_EACH_STEP}, {{"class_path": "test_folder.Dice"}}]'

    def drawn(trained: Any) -> list[float]:
        return next(callback for callback in trained.trainer.callbacks if type(callback).__name__ == "Dice").drawn

    whole_run = fit("sft", tmp_path / "whole", trainer__callbacks=callbacks, trainer__max_steps=4)
    saved = tmp_path / "whole" / "checkpoints" / "step2.ckpt"
    resumed = fit("sft", tmp_path / "resumed", trainer__callbacks=callbacks, trainer__max_steps=4, ckpt_path=saved)
    assert drawn(resumed) == drawn(whole_run)[-len(drawn(resumed)) :]
    assert len(drawn(resumed)) == 6


def test_random_numbers_survive_a_file(tmp_path: Path) -> None:
    random.gauss(0, 1)
    np.random.normal()
    torch.save(randomness.state(), tmp_path / "state")
    expected = random.gauss(0, 1), np.random.normal(), torch.rand(2).tolist()
    randomness.restore(torch.load(tmp_path / "state", weights_only=True))
    assert (random.gauss(0, 1), np.random.normal(), torch.rand(2).tolist()) == expected
