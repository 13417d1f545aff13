"""Whose weights are measured: said in a line, named by a run, and never those of nobody."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import yaml
from conftest import fit, fit_arguments, small_config

from fea.cli import main
from fea.commands._weights import expanded
from fea.errors import FEAError
from fea.model.archive import read
from fea.model.policy import Policy
from fea.model.runs import identity


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with an adapter on a base beside it."""
    place = tmp_path_factory.mktemp("weights")
    Policy(small_config(), {}).save(place / "base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["fea"])
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "cache")
        adapter = {"model__policy__base": place / "base", "model__policy__lora": '{"rank": 2, "alpha": 4}'}
        fit("sft", place / "run", trainer__max_steps=2, data__test_faces=4, **adapter)
    return place / "run"


@pytest.fixture
def moved(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it in a working directory of its own, with its faces and without its base."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained.parent / "faces", tmp_path / "faces")
    config = yaml.safe_load((trained / "config.yaml").read_text())
    copy = shutil.copytree(trained, tmp_path / "run")
    config["data"]["init_args"]["folder"] = "faces"
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    away = trained.parent / "away"
    (trained.parent / "base").rename(away)
    yield copy
    away.rename(trained.parent / "base")


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_without_weights_there_is_nothing_to_measure(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, *fit_arguments("sft", Path("runs/run"))[1:]]) == 2
    told = refusal(capsys)
    assert f"'fea {command} --run RUN'" in told
    assert "--ckpt_path start the weights that a fit would start with (the untrained base)" in told


@pytest.mark.parametrize("word", ["best", "last"])
def test_a_word_for_a_checkpoint_is_one_of_the_run_or_a_sentence(
    tmp_path: Path, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("test", "fit"):
        assert main([command, *fit_arguments("sft", tmp_path / "run")[1:], f"--ckpt_path={word}"]) == 2
        assert f"run' holds no {word} checkpoint of its run; name a .ckpt file" in refusal(capsys)


def test_a_moved_run_is_measured_with_its_settings_and_a_base_that_is_named(
    moved: Path, trained: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert main(["test", "--run", "run"]) == 2
    assert "name it with --base FOLDER_OR_HUB_NAME" in refusal(capsys)
    assert main(["test", "--run", "run", f"--base={trained.parent / 'away'}", "--data.test_faces=4"]) == 0
    assert "test/au_f1" in capsys.readouterr().out
    assert f"weights: 'run/checkpoints/last.ckpt', step 2 of run {identity(moved)}" in caplog.text
    assert {path.name for path in moved.parent.iterdir()} == {"faces", "run"}  # its logs are in its folder
    caplog.clear()
    for words in (["--ckpt_path=start"], ["--ckpt_path", "last"]):
        assert main(["test", "--run=run", f"--base={trained.parent / 'away'}", *words]) == 0
    assert "start weights: the untrained base '" in caplog.text
    assert "weights: '" in caplog.text


def test_options_beside_a_run_win_over_its_settings(trained: Path, tmp_path: Path) -> None:
    words = ["--run", str(trained), "--trainer.callbacks=[]", "--data.batch_size", "3"]
    command, config, file, *rest = expanded(["test", *words], tmp_path)
    assert (command, config) == ("test", "--config")
    assert rest == [*words[2:], "--ckpt_path", str(trained / "checkpoints" / "last.ckpt")]
    settings = yaml.safe_load(Path(file).read_text())
    assert settings["model"]["init_args"]["policy"]["base"] == str(trained.parent / "base")
    assert "callbacks" not in settings["trainer"]
    assert settings.keys() == {"seed_everything", "trainer", "model", "data"}


def test_the_checkpoint_that_is_named_beside_a_run_is_the_one(trained: Path, tmp_path: Path) -> None:
    def settings(*words: str) -> tuple[dict[str, Any], list[str]]:
        _, _, file, *rest = expanded(["test", "--run", str(tmp_path / "run"), *words], tmp_path)
        return yaml.safe_load(Path(file).read_text())["model"]["init_args"], rest

    shutil.copytree(trained, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    step = last.rename(last.with_name("step1.ckpt"))  # a run that was killed before its end
    base = str(trained.parent / "base")
    found, rest = settings("--ckpt_path", str(step), "--base", base)
    assert rest == ["--ckpt_path", str(step)]
    assert (found["policy"]["base"], found["init_from"]) == (base, None)
    step.rename(last)
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["fea"]["init_from"] = str(trained)
    torch.save(checkpoint, last)
    assert settings("--base", base)[0]["init_from"] is None
    assert settings("--base", base, "--ckpt_path=start")[0]["init_from"] == str(trained)
    assert settings("--base", base, "--trainer.logger.init_args.name", "start")[0]["init_from"] is None


def test_of_several_loggers_the_first_writes_where_the_run_lies_now(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "moved")
    config = tmp_path / "moved" / "config.yaml"
    written = yaml.safe_load(config.read_text())
    names = ("CSVLogger", "WandbLogger")
    written["trainer"]["logger"] = [{"class_path": name, "init_args": {"save_dir": "elsewhere"}} for name in names]
    config.write_text(yaml.safe_dump(written))
    _, _, file, *_ = expanded(
        ["test", "--run", str(tmp_path / "moved"), "--base", str(trained.parent / "base")], tmp_path
    )
    first, second = (each["init_args"] for each in yaml.safe_load(Path(file).read_text())["trainer"]["logger"])
    assert first == {"save_dir": str(tmp_path), "name": "moved", "version": ""}
    assert second == {"save_dir": "elsewhere"}


def test_settings_of_an_earlier_release_have_the_names_of_now(tmp_path: Path) -> None:
    before = Path(__file__).parents[1] / "before" / "grpo"
    *_, file, _, checkpoint = expanded(["test", "--run", str(before)], tmp_path)
    settings = yaml.safe_load(Path(file).read_text())
    assert settings["data"]["class_path"] == "fea.drawn.module.RenderedFaces"
    assert "beta" in settings["model"]["init_args"]["objective"]
    assert checkpoint == str(before / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--run"], "run: a value is missing after --run"),
        (["--run", "nowhere"], "'nowhere' holds no checkpoint"),
        (["--base", "b", "--config", "x"], r"base: it belongs to --run; .* there is --model\.policy\.base"),
        (["--run", "bare"], "there is no '.*bare/config.yaml' with its settings"),
        (["--run", "odd"], "odd/config.yaml' (is no YAML|holds no settings)"),
    ],
)
def test_a_run_that_cannot_be_measured_is_one_sentence(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("bare", "odd"):
        shutil.copytree(trained / "checkpoints", tmp_path / name / "checkpoints")
    (tmp_path / "odd" / "config.yaml").write_text("- 1\n")
    with pytest.raises(FEAError, match=told) as error:
        expanded(["test", *words], tmp_path)
    assert "\n" not in str(error.value)


def test_notes_that_nobody_understands_are_refused_before_anything_is_built(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({**read(trained / "checkpoints" / "last.ckpt"), "fea": {}}, tmp_path / "x.ckpt")
    for command in ("fit", "test"):
        words = fit_arguments("sft", tmp_path / "run")[1:]
        assert main([command, *words, f"--ckpt_path={tmp_path / 'x.ckpt'}"]) == 2
        assert "x.ckpt' does not say how its model is built ('prompt' is missing)" in refusal(capsys)
