"""What was written at an earlier commit (`tests/before/make.py`) is read as it was then, and work on it goes on."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fea.data.table import Table, open_jsonl
from fea.drawn.faces import EMOTIONS
from fea.iterate import Loop, Stage
from fea.prompts.answer import parse
from fea.records.record import Rules
from fea.review.decisions import Decision, summary
from fea.review.inspection import Inspection
from fea.review.logs import OwnLog, Reviews, reviews_of
from fea.review.reviewed import read_reviewed
from fea.synthesis.attempts import Outcome
from fea.synthesis.datacard import write_datacard
from fea.synthesis.journal import Journal, admitted
from fea.synthesis.tried import Tried, images_of, read_tried, written_into

BEFORE = Path(__file__).parents[1] / "before"
RULES = Rules(EMOTIONS)


@pytest.fixture
def synthesis(tmp_path: Path) -> Path:
    """A copy of what a synthesis wrote in two rounds, the first of which was reviewed."""
    return Path(shutil.copytree(BEFORE / "sft" / "synthesis", tmp_path / "sft" / "synthesis"))


def table_of(file: Path) -> Table:
    return open_jsonl(file, images_of(file), RULES, "raise")


# --- synthesis --------------------------------------------------------------------------------------------------------


def test_what_was_tried_is_read_field_by_field(synthesis: Path) -> None:
    settings, tried = read_tried(synthesis / "round-1.jsonl")
    assert (settings["faces"], settings["checks"]["tau"], settings["images"]) == (12, 0.8, "../../bare/images")
    assert images_of(synthesis / "round-1.jsonl") == synthesis.parents[1] / "bare" / "images"
    assert [entry.accepted for entry in tried] == [False, *[True] * 7, False, True, True, False]
    assert tried[2] == Tried(
        batch=0,
        of=4,
        id="face-3-3",
        place="bare/faces.jsonl:4",
        dataset="faces",
        accepted=True,
        attempts=2,
        revealed=False,
        labels=["fear"],
        units=[1, 4, 5, 7, 20, 23, 25, 26],
        reasons=[["missed"]],
        round=1,
        seed=0,
        base="tiny",
        model="fd0f261c7c770b4120d70d88521501e8",
        prompt="1",
    )
    assert Counter(entry.refused for entry in tried) == {None: 9, "missed": 3}


def test_the_accepted_analyses_are_known(synthesis: Path) -> None:
    file = synthesis / "round-1.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    found = admitted(file)
    assert [(list(entry.labels), entry.text) for entry in found] == [
        (line["labels"], line["description"]) for line in lines
    ]
    assert [{f"AU{unit}" for unit in entry.units} for entry in found] == [set(line["AUs"]) for line in lines]


def test_the_card_is_the_same(synthesis: Path) -> None:
    card = (synthesis / "DATACARD.md").read_text()
    (synthesis / "DATACARD.md").unlink()
    now = write_datacard(synthesis)
    assert [line for line in now.splitlines() if not line.startswith("| mean")] == card.splitlines()
    assert (synthesis / "DATACARD.md").read_text().startswith(now)  # a mark follows


def test_the_next_round_learns_from_both_files(synthesis: Path) -> None:
    assert [file.name for file in written_into(synthesis)] == ["round-1.jsonl", "round-2.jsonl"]
    loop = Loop(synthesis.parents[1], Stage([]), Stage([]))
    root = str(synthesis.parents[1] / "bare" / "images")
    sources = [{"file": str(synthesis / f"round-{n}.jsonl"), "image_root": root} for n in (1, 2)]
    assert loop.accepted("sft") == sources
    (synthesis / "round-1.jsonl").write_bytes(b"")  # nothing was accepted
    assert loop.accepted("sft") == sources[1:]


def outcomes_of(file: Path) -> list[Outcome]:
    """What became of all faces of a round, as it was when the round ended."""
    table = open_jsonl(file, images_of(file), RULES._replace(wrap=False), "raise")  # the texts as they were written
    known = {table[number].id: table[number]._replace(meta="{}") for number in range(len(table))}
    found = []
    for entry in read_tried(file)[1]:
        units = {"aus": frozenset(f"AU{unit}" for unit in entry.units), "labels": tuple(entry.labels)}
        face = known.get(entry.id, table[0])._replace(id=entry.id, place=entry.place, dataset=entry.dataset, **units)
        answer = parse(face.analysis or "", EMOTIONS) if entry.accepted else None
        reasons = tuple(map(tuple, entry.reasons))
        found.append(Outcome(face, face, answer, entry.attempts, entry.revealed, reasons))
    return found


@pytest.mark.parametrize("cut", [1, 200, 450, 900])
def test_a_round_that_was_cut_in_a_batch_goes_on(synthesis: Path, cut: int) -> None:
    file, tried = synthesis / "round-1.jsonl", synthesis / "round-1.jsonl.tried"
    whole, outcomes = (file.read_bytes(), tried.read_bytes()), outcomes_of(file)
    settings, entries = read_tried(file)
    origin: dict[str, Any] = {name: getattr(entries[0], name) for name in ("round", "seed", "base", "model", "prompt")}
    file.write_bytes(whole[0][:-1] if cut == 1 else whole[0][:-300])
    tried.write_bytes(whole[1][:-cut])
    del settings["images"]
    journal = Journal(file, settings, images_of(file), origin)
    assert journal.batches == 2
    assert (len(file.read_bytes().splitlines()), len(tried.read_bytes().splitlines())) == (7, 1 + 8)
    journal.add(outcomes[8:])
    assert (file.read_bytes(), tried.read_bytes()) == whole


def test_a_round_that_had_ended_stays_as_it_is(synthesis: Path) -> None:
    for file in written_into(synthesis):
        whole = file.read_bytes(), file.with_name(f"{file.name}.tried").read_bytes()
        settings, entries = read_tried(file)
        origin = {"round": entries[0].round}
        assert Journal(file, settings, images_of(file), origin).batches == 1 + entries[-1].batch
        assert (file.read_bytes(), file.with_name(f"{file.name}.tried").read_bytes()) == whole


# --- review -----------------------------------------------------------------------------------------------------------


def test_decisions_are_about_the_same_lines(synthesis: Path) -> None:
    file = synthesis / "round-1.jsonl"
    keys, reviews = table_of(file).column("key"), reviews_of(file)
    verdicts = {name: [(keys.index(key), d.verdict) for key, d in log.items()] for name, log in reviews.items()}
    assert verdicts == {"anna": [(0, "accept"), (1, "reject"), (2, "skip")], "ben": [(0, "accept")]}
    assert reviews["anna"][keys[1]] == Decision(keys[1], "reject", "other", "")
    assert [line.key for line in Inspection(file, images_of(file), EMOTIONS).lines] == keys


def test_a_reviewed_file_is_as_its_reviewers_left_it(synthesis: Path) -> None:
    file = synthesis / "round-1.jsonl"
    read = read_reviewed(file, images_of(file), RULES, "train")
    assert (len(read.lines), dict(read.dropped), read.stale) == (8, {"rejected": 1}, 0)
    assert [line.raw["meta_info"].get("review") for line in read.lines] == [
        {"accepted_by": ["anna", "ben"], "edited": False},
        *[None] * 7,
    ]


def test_a_review_goes_on_and_the_agreement_is_counted(synthesis: Path) -> None:
    file = synthesis / "round-1.jsonl"
    assert summary(reviews_of(file)) == [
        "anna: 1 accepted (0 of them edited), 1 rejected, 1 skipped",
        "ben: 1 accepted (0 of them edited), 0 rejected, 0 skipped",
        "anna and ben: Cohen's kappa not defined (lines that both accepted or rejected: 1)",
    ]
    keys = table_of(file).column("key")
    log = Reviews(file).own("ben")
    before = log.path.read_bytes()
    log.add(Decision(keys[1], "reject", "other", ""))
    log.close()
    assert log.path.read_bytes().startswith(before)
    assert summary(reviews_of(file))[2:] == [
        "anna and ben: Cohen's kappa 1.00 (lines that both accepted or rejected: 2)"
    ]
    again = OwnLog(log.path)
    assert (again.undo(set(keys)), again.undo(set(keys)), again.undo(set(keys))) == (keys[1], keys[0], None)
    again.close()
