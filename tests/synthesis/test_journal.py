"""The files of a synthesis: what survives a kill, what a line says of its origin, and the card."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from test_attempts import true_text

from fea.data.prompt import Prompt
from fea.data.record import Rules
from fea.data.table import open_jsonl
from fea.drawn.faces import EMOTIONS
from fea.errors import FEAError
from fea.prompts.answer import parse
from fea.synthesis.attempts import Outcome
from fea.synthesis.datacard import write_datacard
from fea.synthesis.journal import Journal, admitted, read_tried, tried_of
from fea.synthesis.recipe import Recipe

ORIGIN = {"round": 2, "seed": 7, "base": "Qwen2.5-VL-3B-Instruct", "model": "abc", "prompt": "1"}


def journal_of(file: Path, root: Path | None = None, **settings: Any) -> Journal:
    return Journal(file, settings or asdict(Recipe()), root or file.parent, ORIGIN)


def outcomes_of(prompts: list[Prompt]) -> list[Outcome]:
    found = [
        Outcome(prompt.example, prompt.example, parse(true_text(prompt), EMOTIONS), attempts=1) for prompt in prompts
    ]
    return [found[0], found[1]._replace(answer=None, reasons=(("missed",),)), *found[2:]]


def test_a_line_is_read_again_and_says_where_it_comes_from(prompts: list[Prompt], tmp_path: Path) -> None:
    root = Path(prompts[0].example.image).parents[1]
    outcomes = outcomes_of(prompts)
    journal_of(tmp_path / "s.jsonl", root).add(outcomes)
    table = open_jsonl(tmp_path / "s.jsonl", root, Rules(EMOTIONS, "raise", True), "raise")
    accepted = [outcome for outcome in outcomes if outcome.answer]
    assert len(table) == len(accepted) == 3
    for number, outcome in enumerate(accepted):
        found, example = table[number], outcome.example
        for name in ("id", "aus", "coded", "labels"):
            assert getattr(found, name) == getattr(example, name)
        assert outcome.answer is not None
        assert found.analysis == outcome.answer.text
        assert json.loads(found.meta)["synthesis"] == {**ORIGIN, "attempt": 1, "revealed": False, "au_f1": 1.0}


def test_what_a_vote_says_is_no_label(prompts: list[Prompt], tmp_path: Path) -> None:
    example = prompts[0].example._replace(labels=(), aus=None, coded=frozenset())
    outcome = Outcome(example, prompts[0].example, parse(true_text(prompts[0]), EMOTIONS), attempts=1)
    journal_of(tmp_path / "s.jsonl").add([outcome])
    line = json.loads((tmp_path / "s.jsonl").read_text())
    assert ("AUs" in line, line["labels"], "AUs_coded" in line) == (False, [], False)
    assert line["meta_info"]["synthesis"]["voted"]["labels"] == list(prompts[0].example.labels)


def test_a_journal_goes_on_after_its_last_whole_batch(prompts: list[Prompt], tmp_path: Path) -> None:
    batch, file = outcomes_of(prompts), tmp_path / "s.jsonl"
    journal = journal_of(file)
    journal.add(batch[:2])
    whole = file.read_bytes(), journal.tried.read_bytes()
    journal.add(batch[2:])
    end = file.read_bytes(), journal.tried.read_bytes()
    for cut in (*range(len(whole[1]), len(end[1]), 60), len(end[1]) - 1):
        file.write_bytes(end[0])
        journal.tried.write_bytes(end[1][:cut])
        again = journal_of(file)
        assert again.batches == 1
        assert (file.read_bytes(), again.tried.read_bytes()) == whole
        again.add(batch[2:])
        assert (file.read_bytes(), again.tried.read_bytes()) == end
    assert journal_of(file).batches == 2
    assert [entry.text for entry in admitted(file)] == [o.answer.text for o in batch if o.answer]


def test_a_journal_of_other_settings_is_refused(prompts: list[Prompt], tmp_path: Path) -> None:
    journal_of(tmp_path / "s.jsonl", seed=0, samples=4).add(outcomes_of(prompts))
    with pytest.raises(FEAError, match=r"begun with other settings .samples."):
        journal_of(tmp_path / "s.jsonl", seed=0, samples=8)


def test_settings_of_a_journal_without_a_batch_may_be_mended(tmp_path: Path) -> None:
    journal_of(tmp_path / "s.jsonl", batch_size=0)
    assert journal_of(tmp_path / "s.jsonl", batch_size=4).batches == 0


def test_a_journal_of_another_process_is_left_alone(tmp_path: Path) -> None:
    words = (
        "import sys; from fea.system.files import lock; held = lock(sys.argv[1]); print('held', flush=True); input()"
    )
    file = tmp_path / ".s.jsonl.lock"
    other = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from pathlib import Path; {words.replace('sys.argv[1]', 'Path(sys.argv[1])')}",
            str(file),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(FEAError, match="another process is writing"):
        journal_of(tmp_path / "s.jsonl")
    other.communicate("\n")
    assert journal_of(tmp_path / "s.jsonl").batches == 0


def test_what_was_looked_for_and_not_found_is_not_unknown(prompts: list[Prompt], tmp_path: Path) -> None:
    """A data set whose units are known to be coded, and a face for which none was."""
    example = prompts[0].example._replace(dataset="DISFA", aus=frozenset(), coded=frozenset(), meta='"left camera"')
    root = Path(example.image).parents[1]
    outcome = Outcome(example, example, parse(true_text(prompts[0]), EMOTIONS), attempts=1)
    journal_of(tmp_path / "s.jsonl", root).add([outcome])
    found = open_jsonl(tmp_path / "s.jsonl", root, Rules(EMOTIONS, "raise", True), "raise")[0]
    assert (found.aus, found.coded) == (frozenset(), frozenset())
    assert json.loads(found.meta)["meta_info"] == "left camera"


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text("mine\n")
    with pytest.raises(FEAError, match="exists and was not written by a synthesis"):
        journal_of(tmp_path / "s.jsonl", seed=0)
    assert (tmp_path / "s.jsonl").read_text() == "mine\n"


def test_the_card_counts_by_class_unit_and_reason(prompts: list[Prompt], tmp_path: Path) -> None:
    outcomes = outcomes_of(prompts)
    journal_of(tmp_path / "s.jsonl").add(
        [*outcomes[:3], outcomes[3]._replace(answer=None, attempts=0, reasons=(("quota",),))]
    )
    card = write_datacard(tmp_path)
    assert (tmp_path / "DATACARD.md").read_text() == card
    assert "2 of 4 faces" in card
    assert "3 faces were tried" in card
    assert "1 faces were left out by a quota" in card
    label = prompts[1].example.labels[0]
    same = [outcome for outcome in outcomes if label in outcome.example.labels]
    skipped = outcomes[3] in same  # by the quota, so it was not tried
    assert f"| {label} | {len(same) - skipped} | {len(same) - 1 - skipped} | {len(same) - 1 - skipped} |" in card
    assert "| missed | 1 |" in card
    assert "source faces: drawn" in card
    assert "Qwen research license" in card


@pytest.mark.parametrize("line", ["[1, 2]", '{"batch": 0}', "not JSON", '"text"'])
def test_a_foreign_line_is_one_sentence(tmp_path: Path, line: str) -> None:
    file = tmp_path / "s.jsonl"
    tried_of(file).write_text(f'{{"images": "."}}\n{line}\n')
    with pytest.raises(
        FEAError, match=r"s\.jsonl\.tried' holds a line that no synthesis of this release wrote .*; take it"
    ):
        read_tried(file)
