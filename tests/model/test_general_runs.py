"""Whole runs on a base of a family that is not known by name: every command, two processes, and taking the model away."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import SAVE_EACH_STEP, by_itself, fit, fit_arguments
from processes import ended, start_together
from safetensors.torch import load_file
from strangers import write_stranger
from torch import Tensor

from fea.cli import main
from fea.data.table import open_jsonl
from fea.drawn.faces import EMOTIONS, write_faces
from fea.export import adapter, exporting
from fea.export.adapter import Update
from fea.model import elsewhere
from fea.model.checkpoints import load_policy, weights
from fea.model.config import LoRA
from fea.model.sampling import Generation
from fea.records.record import Rules

ADAPTER = {"model__policy__lora": '{"rank": 4, "alpha": 8}'}
TAUGHT = {**ADAPTER, "trainer__max_steps": 4, "model__optimization__lr": 2e-2, "model__optimization__warmup": 0}
OURS = f'[{{"class_path": "test_grpo.Vowels"}}, {SAVE_EACH_STEP}]'
QUICK = ("--faces", "2", "--scored", "2", "--max_tokens", "6", "--device", "cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a base and a first stage on it, for which the adapter lies where no known family has its layers."""
    place = tmp_path_factory.mktemp("general")
    with by_itself(tmp_path_factory):
        fit("sft", place / "run", model__policy__base=write_stranger("smolvlm", place / "base"), **TAUGHT)
        yield place


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("few"), 3, seed=9, text="none")


def answers(run: Path, faces: Path, tokens: int) -> list[str]:
    """What a policy says of some faces, each asked alone."""
    policy, _ = load_policy(str(run), "cpu")
    table = open_jsonl(faces, faces.parent, Rules(EMOTIONS, "raise", True), "raise")
    prompts = [policy.encoder(table[number]) for number in range(len(table))]
    return [policy.rollout([prompt], 1, Generation(tokens), None).texts[0] for prompt in prompts]


# --- commands ---


@pytest.mark.parametrize("command", ["test", "predict"])
def test_it_is_measured_and_answers_files(command: str, place: Path, faces: Path) -> None:
    own = ["--protocol", "facial-r1"] if command == "test" else []
    given = ["--data=FEADataModule", f"--data.{command}=[{faces}]", "--model.generation.max_tokens=6"]
    assert main([command, "--run", str(place / "run"), *own, *given]) == 0
    file = place / "run" / {"test": "predictions.jsonl", "predict": "answers.jsonl"}[command]
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"face-9-{number}" for number in range(3)]
    assert [row.get("text", row.get("answer")) for row in rows] == answers(place / "run", faces, 6)


def test_it_writes_analyses(place: Path, faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "written.jsonl"
    words = ["--max_tokens", "6", "--device", "cpu"]
    assert main(["synthesize", str(faces), "--model", str(place / "run"), "--out", str(out), *words]) == 0
    tried = [json.loads(line) for line in Path(f"{out}.tried").read_text().splitlines()]
    assert [row["id"] for row in tried if "id" in row] == [f"face-9-{number}" for number in range(3)]


def test_a_second_stage_begins_with_the_weights_of_the_first(place: Path, tmp_path: Path) -> None:
    taught = weights(str(place / "run"))
    settings = {
        **TAUGHT,
        "model__init_from": place / "run",
        "model__policy__base": place / "base",
        "model__group_size": 2,
    }
    fit(
        "grpo",
        tmp_path / "run",
        **settings | {"trainer__max_steps": 1, "trainer__callbacks": OURS},
    )
    found = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    reference: dict[str, Tensor] = found["fea"]["reference"]
    assert reference.keys() == taught.keys()
    assert all(torch.equal(weight, taught[name]) for name, weight in reference.items())
    assert any(not torch.equal(found["state_dict"][f"policy.{name}"], weight) for name, weight in taught.items())


def test_two_processes_train_as_one_does(place: Path, tmp_path: Path) -> None:
    """Rollouts and updates of a second stage with half of the prompts each."""
    own = {
        **ADAPTER, "model__policy__base": place / "base", "model__init_from": place / "run", "model__group_size": 2,
        "trainer__max_steps": 1, "trainer__callbacks": OURS, "model__optimization__lr": 1e-2, "model__optimization__warmup": 0,
    }  # fmt: skip
    one, two = (tmp_path / name / "run" for name in ("one", "two"))
    fit("grpo", one, **own)
    spread = {"data__batch_size": 2, "trainer__devices": 2, "trainer__strategy": "ddp"}
    for process in start_together(fit_arguments("grpo", two, **own, **spread), 2):
        done = ended(process)
        assert done.returncode == 0, done.stderr[-2000:]
    alone, together = weights(str(one)), weights(str(two))
    before = weights(str(place / "run"))

    def distance(other: dict[str, Tensor]) -> float:
        return sum(float((together[name] - weight).square().sum()) for name, weight in other.items()) ** 0.5

    # The first step of Adam goes by the sign of a gradient, which rounding decides where it is next to nothing.
    assert distance(alone) < 1e-3 * distance(before)


# --- taken away ---


def exported(run: Path, out: Path, format: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Exports a run; returns what is shown."""
    assert main(["export", str(run), str(out), *QUICK, "--format", format]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("format", "limit"), [("merged", 1e-4), ("peft", 1e-5)])
def test_it_is_taken_away_and_answers_as_the_run_does(
    format: str, limit: float, place: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = exported(place / "run", out := place / f"out-{format}", format, capsys)
    found = re.search(r"differ by (\S+) at most", shown)
    assert found is not None
    assert float(found[1]) < limit
    assert "the same greedy answer on 2 of 2 faces" in shown
    words = ["--model", str(out), "--out", str(tmp_path / "a.csv"), "--max_tokens", "6", "--device", "cpu"]
    assert main(["analyze", str(faces.parent / "images"), *words]) == 0
    with (tmp_path / "a.csv").open() as file:
        assert [row["text"] for row in csv.DictReader(file)] == answers(place / "run", faces, 6)
    card, told = (out / "README.md").read_text(), json.loads((out / "fea.json").read_text())
    assert "pictures are shown whole, sized by the processor here" in card
    assert "The picture stands before the text of the user." in card
    assert "min_pixels" not in told
    for name in ("preprocessor_config.json", "processor_config.json"):
        assert (out / name).read_bytes() == (place / "base" / name).read_bytes()
    if format == "merged":
        base, merged = (load_file(folder / "model.safetensors") for folder in (place / "base", out))
        changed = {name for name in base if not torch.equal(base[name], merged[name])}
        assert changed == {name for name in base if re.search(r"text_model.*_proj\.weight$", name)}
        assert len(changed) == 2 * 7
    else:  # and may be gone on from, with the usual setting of an adapter
        assert elsewhere.described(str(out), torch.device("cpu")).policy.lora == LoRA(4, 8)


def test_a_template_without_a_system_is_asked_as_the_run_asks_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It writes the token that begins a text, too, which a processor would write again."""
    fit("sft", tmp_path / "run", model__policy__base=write_stranger("gemma3", tmp_path / "base"), **TAUGHT)
    shown = exported(tmp_path / "run", tmp_path / "out", "merged", capsys)
    found = re.search(r"differ by (\S+) at most", shown)
    assert found is not None
    assert float(found[1]) < 1e-4
    assert "what it would say begins the turn of the user" in (tmp_path / "out" / "README.md").read_text()


def test_an_export_that_lost_its_adapter_is_refused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(network: torch.nn.Module) -> list[Update]:
        return [update._replace(up_Or=torch.zeros_like(update.up_Or)) for update in adapter.updates_of(network)]

    monkeypatch.setattr(exporting, "updates_of", lost)
    assert main(["export", str(place / "run"), str(tmp_path / "out"), *QUICK]) == 2
    assert re.search(r"log-probabilities differ by up to \d", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_no_gguf_files_are_made_of_it(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(place / "run"), str(tmp_path / "out"), *QUICK, "--format", "gguf"]) == 2
    assert "no GGUF files can be made; export it with --format merged" in capsys.readouterr().err
