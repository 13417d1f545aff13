"""`--model` of the commands that measure and answer: a base, an exported model, an adapter, and no run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from conftest import SMALL, fit_arguments, small_config
from publishing import publish
from transformers import AutoModelForImageTextToText

import fea
from fea.cli import main
from fea.drawn.faces import write_faces
from fea.model.policy import Policy

SHORT = "--model.generation.max_tokens=6"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, an adapter for it, and faces."""
    place = tmp_path_factory.mktemp("models")
    Policy(small_config(tiny=replace(SMALL, spread=0.3)), {}).save(place / "saved")
    base = publish(place / "saved", place / "base")
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(weight)
    adapted.save_pretrained(place / "adapter")
    write_faces(place / "faces", 3, seed=1)
    return place


@pytest.fixture(autouse=True)
def _here(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("base", "adapter", "faces"):
        (tmp_path / name).symlink_to(models / name)


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("command", "files"), [("test", "test"), ("validate", "val")])
def test_a_base_is_measured_without_a_run(
    command: str, files: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert main([command, "--model", "base", f"--data.{files}=[faces/faces.jsonl]", "--data.num_workers=0", SHORT]) == 0
    assert f"{files}/au_f1" in capsys.readouterr().out
    assert "start weights: the untrained base 'base'" in caplog.text
    assert {path.name for path in Path("runs").iterdir()} == {"measured"}  # no run is touched


@pytest.mark.parametrize("name", ["base", "adapter"])
def test_predictions_are_the_answers_of_an_analysis(name: str) -> None:
    words = [f"--model={name}", "--data.predict=[faces/faces.jsonl]", "--data.num_workers=0", SHORT]
    assert main(["predict", *words]) == 0
    rows = [json.loads(line) for line in Path("runs/measured", name, "answers.jsonl").read_text().splitlines()]
    files = [Path("faces") / json.loads(line)["image"] for line in Path("faces/faces.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == [
        result.text for result in fea.load(name, "cpu").analyze(files, max_tokens=6)
    ]


def test_an_adapter_answers_otherwise_than_its_base(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    face = str(next(Path("faces/images").iterdir()))
    told = []
    for name in ("base", "adapter"):
        assert main(["analyze", face, "--model", name, "--max_tokens=6", "--device=cpu"]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] != told[1]
    caplog.set_level("INFO")
    assert main(["test", "--model=adapter", "--data.test=[faces/faces.jsonl]", "--data.num_workers=0", SHORT]) == 0
    assert "weights: the adapter 'adapter' on '" in caplog.text


def test_an_export_is_called_one(models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    copy = publish(models / "saved", tmp_path / "export")
    (copy / "fea.json").write_text(json.dumps({"prompt": "1", "emotions": ["calm", "happiness"]}))
    words = ["--model=export", "--data.test=[faces/faces.jsonl]", "--data.on_unknown_label=unknown", SHORT]
    assert main(["test", *words, "--data.num_workers=0"]) == 0
    assert "weights: the exported model 'export'" in caplog.text


def test_a_config_beside_it_gives_the_data(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = fit_arguments("grpo", Path("runs/run"), data__test_faces=4)[1:]
    assert main(["test", *config, "--model", "base"]) == 0
    assert "test/au_f1" in capsys.readouterr().out
    assert "the untrained base 'base'" in caplog.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model=base", "--run=runs/sft"], "model: 'base' beside --run 'runs/sft'; measure one of them at a time"),
        (
            ["--model=base", "--ckpt_path=best"],
            "ckpt_path: 'best' beside --model 'base', which is measured as it is; give",
        ),
        (
            ["--model=runs/away"],
            "model: 'runs/away' is not there; name a folder with config.json or adapter_config.json",
        ),
        (["--model=faces"], "model: 'faces' is no base, exported model or adapter; name a folder with config.json"),
        (["--model=base.gguf"], "model: 'base.gguf' is not there; name a folder"),
        (["--model=base", "--base=base"], "base: 'base' is a whole model and needs none; leave --base out"),
        (
            ["--model=owner/none", "--data.test=[faces/faces.jsonl]"],
            "policy.base: cannot load 'owner/none' from a folder",
        ),
        (["--model"], "model: a value is missing after --model"),
        (["--model=base"], "data file 'data/test.jsonl' does not exist"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", *words]) == 2
    assert said in refusal(capsys)


def test_a_class_is_still_a_class(capsys: pytest.CaptureFixture[str]) -> None:
    """As ever: `--model` also stands for the class of a stage."""
    assert main(["test", "--model=fea.sft.SFTModule", "--data=fea.data.module.FEADataModule"]) == 2
    assert "ckpt_path: which weights?" in refusal(capsys)
