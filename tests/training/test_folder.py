"""A run's folder: files that are whole or not there, one run at a time, and a resumed run that knows where it stands."""

from __future__ import annotations

import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import yaml
from conftest import SAVE_EACH_STEP, fit, fit_arguments
from lightning.pytorch.callbacks import Callback
from processes import run

from fea.cli import main
from fea.errors import FEAError
from fea.model.archive import read
from fea.model.runs import identity, mark
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


def test_a_folder_that_cannot_be_written_is_found_before_a_fit(tmp_path: Path) -> None:
    (tmp_path / "run" / "config.yaml").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        RunFolder(tmp_path / "run").claim()


def test_what_a_killed_process_left_unfinished_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / "checkpoints" / ".last.ckpt.123.part"
    left.parent.mkdir()
    left.touch()
    RunFolder(tmp_path).claim().close()
    assert not left.exists()


# --- whose a folder is ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two steps, which no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["fea"])
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "cache")
        folder = tmp_path_factory.mktemp("folder") / "run"
        fit("sft", folder, trainer__callbacks=f"[{SAVE_EACH_STEP}]", trainer__max_steps=2)
    return folder


@pytest.fixture
def used(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(trained, tmp_path / "run")


def contents(folder: Path) -> dict[Path, bytes]:
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_second_fit_in_the_folder_is_refused_and_leaves_all_as_it_was(used: Path) -> None:
    before = contents(used)
    with pytest.raises(FEAError, match=r"holds the results of a run .*--resume, .*init_args.name, .* --overwrite"):
        fit("sft", used, trainer__max_steps=1, model__optimization__lr=0.5)
    assert contents(used) == before


def test_overwrite_moves_the_old_run_aside_to_a_name_that_is_free(
    used: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before = contents(used)
    used.with_name("run.old-1").touch()
    monkeypatch.chdir(used.parent)  # where the name of the run is a path, too
    fit("sft", used, trainer__max_steps=1, overwrite=True)
    assert contents(used.with_name("run.old-2")) == before
    assert f"what was in '{used}' is in '{used}.old-2' now" in caplog.text
    assert [file.name for file in RunFolder(used).checkpoints()] == ["last.ckpt"]
    assert identity(used) != identity(used.with_name("run.old-2"))


def test_overwrite_moves_nothing_that_the_fit_reads(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FEAError, match=r"this fit reads '.*', which would be moved aside"):
        fit("sft", used, overwrite=True, model__init_from=used)
    with pytest.raises(FEAError, match="this fit reads"):
        fit("sft", used, overwrite=True, ckpt_path=used / "checkpoints" / "step1.ckpt")
    with pytest.raises(FEAError, match="give one of them"):
        fit("sft", used, overwrite=True, resume=True)
    monkeypatch.chdir(used / "checkpoints")
    with pytest.raises(FEAError, match="the working directory lies in"):
        fit("sft", used, overwrite=True)
    assert not used.with_name("run.old-1").exists()


def test_a_folder_that_another_process_writes_into_is_not_moved(used: Path, tmp_path: Path) -> None:
    held = RunFolder(used).claim()
    refused = run([*fit_arguments("sft", used, trainer__max_steps=1), "--overwrite"])
    held.close()
    assert refused.returncode == 2
    assert "a run is writing into" in refused.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("run.old*"))


def test_a_run_that_was_killed_before_its_first_checkpoint_stands_in_nobodys_way(tmp_path: Path) -> None:
    begun = {"config.yaml": "# lightning.pytorch==2.6.6\n", "run.json": '{"run": "early"}', "events.out.tfevents.1": ""}
    for resume, expected in ((False, None), (True, "early")):
        folder = tmp_path / f"run-{resume}"
        folder.mkdir()
        for name, text in begun.items():
            (folder / name).write_text(text)
        fit("sft", folder, trainer__max_steps=1, **({"resume": True} if resume else {}))
        assert (identity(folder) == expected) is resume


def test_files_of_others_are_let_be(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    RunFolder(tmp_path / "run").check(resume=False)
    (tmp_path / "run" / "config.yaml").write_text("seed_everything: 0\n")
    for resume in (False, True):
        with pytest.raises(FEAError, match=r"config.yaml' was not written by a fit and would be overwritten"):
            RunFolder(tmp_path / "run").check(resume)


def test_checkpoints_in_a_folder_of_their_own_are_not_written_over(used: Path, tmp_path: Path) -> None:
    """A `dirpath` that two fits share."""
    elsewhere = SAVE_EACH_STEP.replace('"init_args": {', f'"init_args": {{"dirpath": "{used / "checkpoints"}", ')
    before = contents(used)
    for way in ({}, {"overwrite": True}):
        with pytest.raises(FEAError, match=r"holds the results of a run|does not lie in"):
            fit("sft", tmp_path / "new", trainer__callbacks=f"[{elsewhere}]", **way)
    assert contents(used) == before


def test_checkpoints_of_another_run_are_never_resumed_from(used: Path) -> None:
    """One of six steps of another run lies beside the two of this one."""
    theirs = read(used / "checkpoints" / "step2.ckpt", mapped=False)
    torch.save({**theirs, "run": "theirs", "global_step": 6}, used / "checkpoints" / "step6.ckpt")
    (used / "checkpoints" / "last.ckpt").unlink()
    with pytest.warns(UserWarning, match=r"step6.ckpt' is one of another run \(theirs\)"):
        assert RunFolder(used).newest() == used / "checkpoints" / "step2.ckpt"
    with pytest.raises(FEAError, match="holds the results of a run"):
        fit("sft", used, trainer__max_steps=8, ckpt_path=used / "checkpoints" / "step6.ckpt")
    mark(used, "nobody's")
    with pytest.raises(FEAError, match=r"holds no checkpoint to go on from \(.* is one of another run"):
        fit("sft", used, trainer__max_steps=8, resume=True)


def test_resume_does_not_begin_anew_over_damaged_checkpoints(used: Path) -> None:
    for file in RunFolder(used).checkpoints():
        content = bytearray(file.read_bytes())
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes(1000) + content[middle + 1000 :])
    with pytest.raises(FEAError, match=r"holds no checkpoint to go on from \(.* is damaged"):
        fit("sft", used, resume=True)


def test_weights_alone_are_not_gone_on_from(used: Path, tmp_path: Path) -> None:
    checkpoint = read(used / "checkpoints" / "last.ckpt", mapped=False)
    torch.save(
        {name: checkpoint[name] for name in ("fea", "state_dict", "global_step", "epoch", "loops")}, tmp_path / "x.ckpt"
    )
    with pytest.raises(FEAError, match=r"without 'lr_schedulers'; name it as model.init_from"):
        fit("sft", tmp_path / "new", ckpt_path=tmp_path / "x.ckpt")


def test_an_identity_is_kept_over_resumes_copies_and_in_each_checkpoint(used: Path, tmp_path: Path) -> None:
    own = identity(used)
    copy = shutil.copytree(used, tmp_path / "copy")
    fit("sft", copy, trainer__callbacks=f"[{SAVE_EACH_STEP}]", trainer__max_steps=3, resume=True)
    fit("sft", tmp_path / "on", trainer__max_steps=3, ckpt_path=used / "checkpoints" / "step1.ckpt")
    for folder in (used, copy, tmp_path / "on"):
        assert own is not None
        assert identity(folder) == own
        assert {read(file)["run"] for file in RunFolder(folder).checkpoints()} == {own}
    assert yaml.safe_load((copy / "config.yaml").read_text())["resume"] is False


def test_a_run_that_was_moved_keeps_its_best_checkpoint(tmp_path: Path) -> None:
    """The trainer remembers where it was by a path; without it any later score would count as the best."""
    best = (
        '{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"filename": "best", "monitor": "step", '
        '"mode": "min", "save_last": true, "every_n_train_steps": 1, "enable_version_counter": false}}'
    )
    fit("sft", tmp_path / "run", trainer__callbacks=f"[{best}]", trainer__max_steps=2)
    (tmp_path / "run").rename(tmp_path / "moved")
    fit("sft", tmp_path / "moved", trainer__callbacks=f"[{best}]", trainer__max_steps=4, resume=True)
    steps = {file.name: read(file)["global_step"] for file in RunFolder(tmp_path / "moved").checkpoints()}
    assert steps == {"best.ckpt": 1, "last.ckpt": 4}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: lines[::-1], "another order"),
        (lambda lines: [*lines[1:], lines[0].replace("face-", "new-")], "other faces"),
    ],
)
def test_other_data_are_refused_by_a_resume(
    tmp_path: Path, faces_file: Path, change: Callable[[list[str]], list[str]], told: str
) -> None:
    shutil.copytree(faces_file.parent, tmp_path / "own")
    file = tmp_path / "own" / "faces.jsonl"
    own = {"data": "FEADataModule", "data__train": f"[{file}]"}
    fit("sft", tmp_path / "run", trainer__max_steps=1, **own)
    file.write_text("".join(f"{line}\n" for line in change(file.read_text().splitlines())))
    with pytest.raises(
        FEAError, match=f"data.train: it holds .*{told} than when the checkpoint was written; give the data"
    ):
        fit("sft", tmp_path / "run", trainer__max_steps=2, resume=True, **own)


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
