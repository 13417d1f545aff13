"""Attempts and what they are told, the record, and a journal that survives a kill."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import fit

from fea.cli import main
from fea.data.encoding import Prompt
from fea.data.faces import EMOTIONS, write_faces
from fea.data.record import Rules
from fea.data.table import open_jsonl
from fea.errors import FEAError
from fea.journal import Journal
from fea.policy import Policy
from fea.prompts import render
from fea.sampling import Completions, Generation
from fea.synthesis import Outcome, Recipe, attempted, record

Script = Callable[[Prompt, str, int], str]
MakePolicy = Callable[..., Policy]


def true_text(prompt: Prompt, question: str = "", turn: int = 0) -> str:
    units = " ".join(f"brow eye cheek nose mouth chin jaw (AU{number})" for number in sorted(prompt.example.present))
    return render(f"Here is what the face shows: {units}", prompt.example.labels[0])


class Scripted:
    """Writes what a script says in place of a policy, and remembers what it was asked."""

    def __init__(self, policy: Policy, script: Script):
        self.encoder, self.policy, self.script = policy.encoder, policy, script
        self.asked: list[list[str]] = []

    def rollout(self, prompts: Sequence[Prompt], group: int, generation: Generation, chance: Any) -> Completions:
        questions = [self.policy.decode(prompt.ids) for prompt in prompts]
        self.asked.append(questions)
        pairs = [pair for pair in zip(prompts, questions, strict=True) for _ in range(group)]
        texts = [self.script(prompt, question, len(self.asked)) for prompt, question in pairs]
        none = torch.zeros(len(texts), 1)
        return Completions(none.long(), none.long(), none, none[:, 0].bool(), texts)


def run(policy: Policy, prompts: list[Prompt], script: Script, **recipe: Any) -> tuple[list[Outcome], Scripted]:
    scripted = Scripted(policy, script)
    settings = Recipe(**{"samples": 2, **recipe})
    return attempted(scripted, prompts, Generation(8), settings, 0), scripted  # type: ignore[arg-type]


def test_the_first_attempt_sees_no_label_and_what_passes_is_kept(
    make_policy: MakePolicy, prompts: list[Prompt]
) -> None:
    outcomes, scripted = run(make_policy(), prompts, true_text)
    assert [outcome.example for outcome in outcomes] == [prompt.example for prompt in prompts]
    assert all(outcome.answer and outcome.attempts == 1 and not outcome.revealed for outcome in outcomes)
    assert len(scripted.asked) == 1
    assert not any("labels are" in question or "rejected" in question for question in scripted.asked[0])


def test_a_failed_attempt_is_told_what_was_wrong_and_only_late_ones_see_the_labels(
    make_policy: MakePolicy, prompts: list[Prompt]
) -> None:
    def script(prompt: Prompt, question: str, turn: int) -> str:
        return true_text(prompt) if "The labels are" in question else render("A face like any other one.", "x")

    outcomes, scripted = run(make_policy(), prompts, script, attempts=4, reveal_after=2)
    assert all(outcome.answer and outcome.attempts == 3 and outcome.revealed for outcome in outcomes)
    assert all("emotion was wrong" in question and "labels are" not in question for question in scripted.asked[1])
    assert all("labels are" in question for question in scripted.asked[2])
    assert all(len(outcome.reasons) == 2 and "emotion" in outcome.reasons[0] for outcome in outcomes)


def test_faces_that_are_done_are_not_asked_again(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    def script(prompt: Prompt, question: str, turn: int) -> str:
        return true_text(prompt) if prompt.example.id.endswith(("0", "2")) or turn == 2 else "nothing"

    outcomes, scripted = run(make_policy(), prompts, script)
    assert [len(asked) for asked in scripted.asked] == [4, 2]
    assert [outcome.attempts for outcome in outcomes] == [1, 2, 1, 2]


def test_without_a_pass_there_is_no_answer(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    outcomes, scripted = run(make_policy(), prompts, lambda *_: "nothing", attempts=3, reveal_after=3)
    assert all(outcome.answer is None and len(outcome.reasons) == 3 for outcome in outcomes)
    assert not any("labels are" in question for asked in scripted.asked for question in asked)


def test_a_question_again_is_the_prompt_of_that_question(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    encoder = make_policy().encoder
    again = encoder.ask(prompts[0], "Why so?")
    whole = encoder(prompts[0].example._replace(question="Why so?"))
    assert torch.equal(again.ids, whole.ids)
    assert torch.equal(again.positions, whole.positions)
    assert again.example == prompts[0].example


def test_a_record_is_read_again_and_says_where_it_comes_from(
    make_policy: MakePolicy, prompts: list[Prompt], tmp_path: Path
) -> None:
    outcomes, _ = run(make_policy(), prompts, true_text)
    root = Path(prompts[0].example.image).parents[1]
    lines = [record(outcome, root, {"round": 2, "seed": 7, "model": "abc"}) for outcome in outcomes]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = open_jsonl(tmp_path / "s.jsonl", root, Rules(EMOTIONS, "raise", True), "raise")
    for number, prompt in enumerate(prompts):
        found, example = table[number], prompt.example
        for name in ("id", "aus", "coded", "labels"):
            assert getattr(found, name) == getattr(example, name)
        assert found.analysis == true_text(prompt)
        told = json.loads(found.meta)["synthesis"]
        assert (told["round"], told["attempt"], told["revealed"], told["au_f1"]) == (2, 1, False, 1.0)
        assert {"seed", "model", "prompt"} <= told.keys()


# --- journal ---


def outcomes_of(prompts: list[Prompt], policy: Policy) -> list[Outcome]:
    found = run(policy, prompts, true_text)[0]
    return [found[0], found[1]._replace(answer=None, reasons=[["missed"]]), *found[2:]]


def test_a_journal_goes_on_after_its_last_whole_batch(
    make_policy: MakePolicy, prompts: list[Prompt], tmp_path: Path
) -> None:
    settings, root = asdict(Recipe()), Path(prompts[0].example.image).parents[1]
    batch, file = outcomes_of(prompts, make_policy()), tmp_path / "s.jsonl"
    journal = Journal(file, settings)
    journal.add(batch[:2], root, {})
    whole = file.read_bytes(), journal.tried.read_bytes()
    journal.add(batch[2:], root, {})
    end = file.read_bytes(), journal.tried.read_bytes()
    for cut in (*range(len(whole[1]), len(end[1]), 60), len(end[1]) - 1):
        file.write_bytes(end[0])
        journal.tried.write_bytes(end[1][:cut])
        again = Journal(file, settings)
        assert again.batches == 1
        assert (file.read_bytes(), again.tried.read_bytes()) == whole
        again.add(batch[2:], root, {})
        assert (file.read_bytes(), again.tried.read_bytes()) == end
    assert Journal(file, settings).batches == 2


def test_a_journal_of_other_settings_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "s.jsonl", {"seed": 0, "samples": 4})
    with pytest.raises(FEAError, match=r"begun with other settings .samples."):
        Journal(tmp_path / "s.jsonl", {"seed": 0, "samples": 8})


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text("mine\n")
    with pytest.raises(FEAError, match="exists and was not written by a synthesis"):
        Journal(tmp_path / "s.jsonl", {})
    assert (tmp_path / "s.jsonl").read_text() == "mine\n"


def test_the_card_counts_by_class_unit_and_reason(
    make_policy: MakePolicy, prompts: list[Prompt], tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "s.jsonl", {"seed": 0})
    journal.add(outcomes_of(prompts, make_policy()), tmp_path, {})
    card = journal.card()
    assert (tmp_path / "s.md").read_text() == card
    assert "3 of 4 faces" in card
    label = prompts[1].example.labels[0]
    same = [prompt for prompt in prompts if label in prompt.example.labels]
    assert f"| {label} | {len(same)} | {len(same) - 1} |" in card
    assert "| missed | 1 |" in card


# --- the command ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned next to nothing, and faces without analyses."""
    folder = tmp_path_factory.mktemp("trained")
    fit("sft", folder / "run", trainer__max_steps=2)
    write_faces(folder / "new", 12, seed=3, text="none")
    return folder


def arguments(folder: Path, out: Path) -> list[str]:
    words = ["synthesize", str(folder / "new" / "faces.jsonl"), "--model", str(folder / "run"), "--out", str(out)]
    return [*words, "--max_tokens=12", "--batch_size=2", "--recipe.attempts=2", "--recipe.samples=2", "--num_workers=0"]


def test_the_command_tries_every_face(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(trained, tmp_path / "s.jsonl")) == 0
    assert "of 12 faces have an analysis" in capsys.readouterr().out
    tried = [json.loads(line) for line in (tmp_path / "s.jsonl.tried").read_text().splitlines()][1:]
    assert [entry["id"] for entry in tried] == [f"face-3-{number}" for number in range(12)]
    assert all(entry["attempts"] == 2 and not entry["revealed"] for entry in tried if not entry["accepted"])


def accept_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fea.synthesis.failures", lambda answer, example, checks: [])


@pytest.mark.parametrize("beside", [True, False])
def test_new_lines_find_their_images(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    accept_all(monkeypatch)
    out = trained / "s.jsonl" if beside else tmp_path / "s.jsonl"
    assert main(arguments(trained, out)) == 0
    shown = capsys.readouterr().out
    root = trained if beside else trained / "new" / "images"
    assert ("name it as image_root" in shown) != beside
    assert beside or str(root.resolve()) in shown
    rules = Rules(EMOTIONS, "raise", True)
    table = open_jsonl(out, root, rules, "raise")
    assert len(table) == 12
    assert all(Path(table[number].image).is_file() for number in range(12))


def test_a_killed_synthesis_goes_on_to_the_same_files(trained: Path, tmp_path: Path) -> None:
    assert main(arguments(trained, tmp_path / "whole.jsonl")) == 0
    chance, out = random.Random(0), tmp_path / "killed.jsonl"
    tried = out.with_name("killed.jsonl.tried")
    for kill in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "fea", *arguments(trained, out)], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "2"},
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while len(tried.read_bytes().splitlines() if tried.exists() else []) < 3 + 4 * kill and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert main(arguments(trained, out)) == 0
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert tried.read_bytes() == (tmp_path / "whole.jsonl.tried").read_bytes()


def test_files_without_such_faces_are_refused(
    trained: Path, faces_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(trained, tmp_path / "s.jsonl")
    words[1] = str(faces_file)
    assert main(words) == 2
    assert "has labels and no analysis" in capsys.readouterr().err
