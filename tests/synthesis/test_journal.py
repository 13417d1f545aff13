"""The files of a synthesis: what survives a kill, what a line says of its origin, and the card."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from test_attempts import true_text

from fea.data.prompt import Prompt
from fea.data.table import open_jsonl
from fea.drawn.faces import EMOTIONS
from fea.errors import FEAError
from fea.prompts.answer import parse
from fea.records.record import Rules
from fea.synthesis.attempts import Outcome
from fea.synthesis.datacard import check_card, write_datacard
from fea.synthesis.journal import Journal, admitted, check_place
from fea.synthesis.recipe import Recipe
from fea.synthesis.tried import read_tried, tried_of, written_into
from fea.system.lines import whole_lines, write_jsonl

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


def test_pairs_in_the_same_folder_are_passed_over_and_not_written_into(prompts: list[Prompt], tmp_path: Path) -> None:
    settings = {"command": "fea data pairs", "faces": 2, "images": "."}
    entries = [{"batch": 0, "of": 1, "id": "a", "kept": False, "why": "no answer is right"}]
    write_jsonl(tried_of(tmp_path / "pairs.jsonl"), [settings, *entries])
    check_card(tmp_path)
    journal_of(tmp_path / "s.jsonl").add(outcomes_of(prompts))
    assert "3 of 4 faces" in write_datacard(tmp_path)
    assert written_into(tmp_path) == [tmp_path / "s.jsonl"]
    with pytest.raises(FEAError, match=r"out: '.*pairs\.jsonl' was written by fea data pairs; choose another name"):
        check_place(tmp_path / "pairs.jsonl")
    tried_of(tmp_path / "pairs.jsonl").write_text("{mine\n")
    with pytest.raises(FEAError, match=r"pairs\.jsonl\.tried' holds a line that no synthesis"):
        check_card(tmp_path)


def test_the_card_counts_by_class_unit_and_reason(prompts: list[Prompt], tmp_path: Path) -> None:
    outcomes = outcomes_of(prompts)
    journal_of(tmp_path / "s.jsonl").add(
        [*outcomes[:3], outcomes[3]._replace(answer=None, attempts=0, reasons=(("quota",),))]
    )
    card = write_datacard(tmp_path)
    assert (tmp_path / "DATACARD.md").read_text().startswith(card)
    assert "2 of 4 faces" in card
    assert "3 faces were tried" in card
    assert "1 faces were left out by a quota" in card
    label = prompts[1].example.labels[0]
    same = [outcome for outcome in outcomes if label in outcome.example.labels]
    skipped = outcomes[3] in same  # by the quota, so it was not tried
    assert f"| {label} | {len(same) - skipped} | {len(same) - 1 - skipped} | {len(same) - 1 - skipped} |" in card
    means = [line for line in card.splitlines() if line.startswith("| mean |")]
    yields = [
        [
            float(line.split("|")[5].strip(" %"))
            for line in part.splitlines()
            if re.match(r"\| (?!-|mean|emotion|Action)", line)
        ]
        for part in (
            card.split("| emotion |")[1].split("| Action Unit |")[0],
            card.split("| Action Unit |")[1].split("##")[0],
        )
    ]
    assert len(means) == 2  # over emotions, and over Action Units
    for line, shares in zip(means, yields, strict=True):
        assert float(line.split("|")[5].strip(" %")) == pytest.approx(sum(shares) / len(shares), abs=1)
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


def test_a_card_of_somebody_else_stays(
    prompts: list[Prompt], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card, journal = tmp_path / "DATACARD.md", journal_of(tmp_path / "s.jsonl")
    journal.add(outcomes_of(prompts))
    text = write_datacard(tmp_path)
    check_card(tmp_path)
    journal.add(outcomes_of(prompts))
    assert write_datacard(tmp_path) != text  # its own is written anew
    assert "8 faces have an analysis now" not in text
    for theirs in ("# My data\n", card.read_text().replace("faces were tried", "faces were seen")):
        card.write_text(theirs)
        with pytest.raises(FEAError, match=r"DATACARD.md' was not written by a synthesis, or changed since; give it"):
            check_card(tmp_path)
        write_datacard(tmp_path)
        assert card.read_text() == theirs
        assert "it stays as it is" in capsys.readouterr().err
    card.write_text(text)  # without the mark, as of an earlier release
    check_card(tmp_path)
    tried_of(tmp_path / "s.jsonl").write_text("by hand\n")
    with pytest.raises(FEAError, match="holds a line that no synthesis"):
        check_card(tmp_path)


BY_HAND: dict[str, tuple[str, Callable[[list[Any]], list[Any]], str]] = {
    "an accepted line deleted": ("s.jsonl", lambda lines: lines[1:], "does not hold the 3 lines that 's.jsonl.tried' tells of"),
    "the last one deleted": ("s.jsonl", lambda lines: lines[:-1], "does not hold the 3 lines"),
    "all deleted": ("s.jsonl", lambda lines: [], "does not hold the 3 lines"),
    "two exchanged": ("s.jsonl", lambda lines: lines[::-1], "does not hold the 3 lines"),
    "one of a user added": ("s.jsonl", lambda lines: [*lines, {"id": "mine"}], "line 4: it says nothing of its origin"),
    "one without an origin": (
        "s.jsonl", lambda lines: [*lines, {"id": "x", "description": "", "meta_info": {}}], "line 4: it says nothing of its",
    ),
    "a description taken out": ("s.jsonl", lambda lines: [{**lines[0], "description": 1}, *lines[1:]], "line 1: it says"),
    "a face deleted": ("s.jsonl.tried", lambda lines: [*lines[:2], *lines[3:]], "lacks lines of a batch, so it was changed"),
    "a batch deleted": ("s.jsonl.tried", lambda lines: [lines[0], *lines[3:]], "lacks lines of a batch"),
    "batches exchanged": ("s.jsonl.tried", lambda lines: [lines[0], *lines[3:], *lines[1:3]], "lacks lines of a batch"),
    "settings deleted": ("s.jsonl.tried", lambda lines: lines[1:], "line 1: it holds no settings"),
    "a number as text": ("s.jsonl.tried", lambda lines: [*lines[:-1], {**lines[-1], "batch": "1"}], "line 5: 'batch' is "),
    "a list of others": ("s.jsonl.tried", lambda lines: [*lines[:-1], {**lines[-1], "units": ["6"]}], "line 5: 'units' is "),
    "no reason": ("s.jsonl.tried", lambda lines: [*lines[:2], {**lines[2], "reasons": []}, *lines[3:]], "line 3: it gives no"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "told"), list(BY_HAND.values()), ids=list(BY_HAND))
def test_what_was_changed_by_hand_is_one_sentence_and_nothing_is_written(
    prompts: list[Prompt], tmp_path: Path, name: str, change: Callable[[list[Any]], list[Any]], told: str
) -> None:
    journal, outcomes = journal_of(tmp_path / "s.jsonl"), outcomes_of(prompts)
    journal.add(outcomes[:2])
    journal.add(outcomes[2:])
    write_jsonl(tmp_path / name, change(whole_lines(tmp_path / name)))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for ask in (check_place, admitted, journal_of):
        with pytest.raises(FEAError, match=re.escape(told)):
            ask(tmp_path / "s.jsonl")
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("content", [b"not JSON\n", b"[" * 100_000 + b"\n", b"\xff\xfe\n", b"\n"])
def test_a_damaged_accepted_line_is_one_sentence(prompts: list[Prompt], tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "s.jsonl"
    journal_of(file).add(outcomes_of(prompts))
    file.write_bytes(content + file.read_bytes())
    with pytest.raises(
        FEAError, match=r"s.jsonl' holds a line that no synthesis .*line 1: .*take it and 's.jsonl.tried'"
    ):
        check_place(file)


def test_an_output_that_was_moved_away_is_not_made_anew(prompts: list[Prompt], tmp_path: Path) -> None:
    journal_of(tmp_path / "s.jsonl").add(outcomes_of(prompts))
    (tmp_path / "s.jsonl").rename(tmp_path / "elsewhere.jsonl")
    with pytest.raises(
        FEAError, match=r"does not hold the 3 lines that 's.jsonl.tried' tells of, .* or moved; put them"
    ):
        journal_of(tmp_path / "s.jsonl")
    assert not (tmp_path / "s.jsonl").exists()


def test_a_place_is_tried_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        check_place(tmp_path / "file" / "s.jsonl")
    (tmp_path / "s.jsonl.tried").mkdir()
    with pytest.raises(IsADirectoryError):
        check_place(tmp_path / "s.jsonl")
