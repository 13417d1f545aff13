"""Decisions that are never lost, and how far two reviewers agree."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reviewing import Page, number_of, writer  # noqa: F401

from fea.errors import FEAError
from fea.prompts.answer import render
from fea.records.record import key_of
from fea.review.decisions import Decision, agreement, summary
from fea.review.logs import OwnLog, Reviews, reviews_of


def test_a_decision_is_on_the_disk_when_the_next_line_is_shown(write: Callable[..., Path]) -> None:
    page = Page(write({}, {}, {}))
    assert number_of(page.decide(0, "accept")) == 1
    assert page.kept() == [(page.keys[0], "accept", "", "")]
    assert number_of(page.decide(1, "reject", reason="wrong AU")) == 2
    answer = page.decide(2, "skip")
    assert answer["line"] is None
    assert page.kept()[1:] == [(page.keys[1], "reject", "wrong AU", ""), (page.keys[2], "skip", "", "")]
    assert answer["counts"] == {"accept": 1, "reject": 1, "skip": 1}
    assert reviews_of(page.file) == {
        "anna": {key: Decision(*entry) for key, entry in zip(page.keys, page.kept(), strict=True)}
    }


def test_the_file_itself_is_not_touched(write: Callable[..., Path]) -> None:
    file = write({}, {})
    before = file.read_bytes(), file.stat().st_mtime_ns
    page = Page(file)
    page.decide(0, "accept", text=render("Other.", "fear"))
    page.undo()
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


def test_undo_takes_back_the_last_decision_and_goes_to_its_line(write: Callable[..., Path]) -> None:
    page = Page(write({}, {}, {}))
    page.decide(2, "accept")
    page.decide(0, "reject", reason="other")
    assert number_of(page.undo()) == 0
    assert number_of(page.undo()) == 2
    assert page.undo() == {"error": "there is no decision to take back"}
    assert [verdict for _, verdict, _, _ in page.kept()] == ["accept", "reject", "undo", "undo"]
    assert reviews_of(page.file) == {"anna": {}}


def test_undo_of_a_second_thought_leaves_the_first(write: Callable[..., Path]) -> None:
    page = Page(write({}))
    page.decide(0, "accept")
    page.decide(0, "reject", reason="missed AU")
    answer = page.undo()
    assert (answer["line"]["verdict"], answer["line"]["reason"]) == ("accept", "")
    assert reviews_of(page.file)["anna"][page.keys[0]].verdict == "accept"


def test_a_review_goes_on_where_it_was(write: Callable[..., Path]) -> None:
    page = Page(write({}, {}, {}))
    page.decide(0, "accept")
    page.desk.close()  # as when its process ends
    again = Page(page.file)
    assert number_of(again.look()) == 1
    assert again.look(0)["line"]["verdict"] == "accept"
    assert number_of(again.undo()) == 0


def test_a_line_cut_short_by_a_kill_is_ignored_and_overwritten(write: Callable[..., Path]) -> None:
    page = Page(write({}, {}, {}))
    page.decide(0, "accept")
    first = page.log.stat().st_size
    page.decide(1, "reject", reason="größer")
    whole = page.log.read_bytes()
    page.desk.close()
    for cut in range(first, len(whole)):
        page.log.write_bytes(whole[:cut])
        assert list(reviews_of(page.file)["anna"]) == page.keys[:1]
        log = OwnLog(page.log)
        log.add(Decision(page.keys[2], "skip", "", ""))
        log.close()
        assert list(reviews_of(page.file)["anna"]) == [page.keys[0], page.keys[2]]
        assert len(page.kept()) == 2


def test_a_decision_that_cannot_be_written_is_told_and_not_counted(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page(write({}, {}))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        told = page.decide(0, "accept")
    assert told == {"error": f"'{page.log}' cannot be written (No space left on device); this was not kept"}
    assert page.look(0)["line"]["verdict"] is None
    page.decide(1, "accept")
    assert page.kept() == [(page.keys[1], "accept", "", "")]


@pytest.mark.parametrize("line", ["{", "[1]", '{"key": "a", "verdict": "accept"}', '{"verdict": "maybe"}'])
def test_a_damaged_log_is_refused_with_its_line(write: Callable[..., Path], line: str) -> None:
    page = Page(write({}))
    page.decide(0, "accept")
    page.log.write_text(page.log.read_text() + line + "\n")
    with pytest.raises(FEAError, match=r"s\.jsonl\.reviews/anna\.jsonl:2: this is no decision"):
        reviews_of(page.file)


def test_a_log_with_a_strange_verdict_is_refused(write: Callable[..., Path]) -> None:
    page = Page(write({}))
    page.decide(0, "accept")
    page.log.write_text(page.log.read_text().replace("accept", "maybe"))
    with pytest.raises(FEAError, match=r"anna\.jsonl:1: verdict 'maybe' is none of accept, reject, skip, undo"):
        reviews_of(page.file)


def test_a_key_is_of_the_id_and_the_description(write: Callable[..., Path]) -> None:
    assert key_of({"id": 7, "description": "ä", "image": "x"}) == hashlib.sha256("7\0ä".encode()).hexdigest()[:16]
    assert key_of({"description": "ä"}) == key_of({"id": "", "description": "ä"})
    page = Page(write({"description": "No tags here."}))  # what is shown has tags, the key is of the line as it stands
    assert page.keys == [key_of(json.loads(page.file.read_text()))]


def test_a_rewritten_line_is_open_again(write: Callable[..., Path]) -> None:
    page = Page(write({}, {}))
    page.decide(0, "accept")
    page.desk.close()
    again = Page(write({"description": render("New (AU6).", "happiness")}, {}))
    assert again.look(0)["line"]["verdict"] is None
    assert again.desk.told() == ["anna: 0 accepted (0 of them edited), 0 rejected, 0 skipped"]
    assert again.undo() == {"error": "there is no decision to take back"}


def test_reviewers_are_kept_apart_and_compared(write: Callable[..., Path]) -> None:
    anna, ben = Page(write(*[{}] * 6), "anna"), Page(write(*[{}] * 6), "ben")
    for number, (hers, his) in enumerate([("a", "a"), ("a", "r"), ("r", "r"), ("a", "a"), ("s", "r"), ("a", "s")]):
        words = {"a": "accept", "r": "reject", "s": "skip"}
        anna.decide(number, words[hers], reason="other")
        told = ben.decide(number, words[his], reason="other")
    assert ben.look(1)["line"]["verdict"] == "reject"
    assert anna.look(1)["line"]["verdict"] == "accept"
    # On 4 lines: agreed 3/4, by chance 3/4 2/4 + 1/4 2/4 = 1/2.
    assert told["summary"] == anna.look(0)["summary"] == [
        "anna: 4 accepted (0 of them edited), 1 rejected, 1 skipped",
        "ben: 2 accepted (0 of them edited), 3 rejected, 1 skipped",
        "anna and ben: Cohen's kappa 0.50 (lines that both accepted or rejected: 4)",
    ]  # fmt: skip


def decided(verdicts: str) -> dict[str, Decision]:
    words: dict[str, Any] = {"a": "accept", "r": "reject", "s": "skip"}
    return {str(n): Decision(str(n), words[letter], "", "") for n, letter in enumerate(verdicts) if letter != "-"}


@pytest.mark.parametrize(
    ("first", "second", "shared", "kappa"),
    [
        ("a" * 20 + "a" * 5 + "r" * 10 + "r" * 15, "a" * 20 + "r" * 5 + "a" * 10 + "r" * 15, 50, 0.4),
        ("ar", "ra", 2, -1.0),
        ("arar", "arar", 4, 1.0),
        ("aaaa", "aarr", 4, 0.0),
        ("as-r", "aarr", 2, 1.0),
        ("aa", "aa", 2, None),
        ("rr", "rr", 2, None),
        ("as", "-a", 0, None),
        ("", "", 0, None),
    ],
)
def test_cohens_kappa_by_hand(first: str, second: str, shared: int, kappa: float | None) -> None:
    found = agreement(decided(first), decided(second))
    assert found == (shared, None if kappa is None else pytest.approx(kappa, abs=1e-12))


def test_a_kappa_without_a_value_says_so_and_every_pair_has_one() -> None:
    told = summary({"a": decided("a"), "b": decided("a"), "c": decided("-")})
    assert told[3:] == [
        "a and b: Cohen's kappa not defined (lines that both accepted or rejected: 1)",
        "a and c: Cohen's kappa not defined (lines that both accepted or rejected: 0)",
        "b and c: Cohen's kappa not defined (lines that both accepted or rejected: 0)",
    ]


def test_edits_are_counted_where_they_were_accepted() -> None:
    edits = {"1": Decision("1", "accept", "", "new"), "2": Decision("2", "reject", "other", "new")}
    assert summary({"a": edits}) == ["a: 1 accepted (1 of them edited), 1 rejected, 0 skipped"]


def test_one_reviewer_decides_in_one_process(write: Callable[..., Path]) -> None:
    file = write({})
    first = Reviews(file).own("anna")
    with pytest.raises(FEAError, match="'anna' is reviewing this file in another process"):
        Reviews(file).own("anna")
    Reviews(file).own("ben").close()
    first.close()
    Reviews(file).own("anna").close()
    assert list(Reviews(file).read()) == ["anna", "ben"]  # the locks, which lie beside the logs, are nobody's


OWN = """
import sys
from pathlib import Path
from fea.errors import FEAError
from fea.review.logs import OwnLog
try:
    OwnLog(Path(sys.argv[1])).close()
except FEAError as error:
    print(error)
"""


def test_a_reviewer_keeps_other_processes_out_after_a_decision_too(write: Callable[..., Path]) -> None:
    def other() -> str:
        return subprocess.run([sys.executable, "-c", OWN, page.log], capture_output=True, text=True, check=True).stdout

    page = Page(write({}, {}))
    page.decide(0, "accept")  # closes the log
    reviews_of(page.file)  # so does this
    assert "'anna' is reviewing this file in another process" in other()
    with pytest.raises(FEAError, match="another process"):
        OwnLog(page.log)
    assert "'anna' is reviewing this file in another process" in other()  # the one who was refused has freed nothing
    page.desk.close()
    assert other() == ""


def test_a_log_that_was_refused_is_free_again(write: Callable[..., Path]) -> None:
    page = Page(write({}))
    page.desk.close()
    page.log.write_text("{}\n")
    with pytest.raises(FEAError, match="this is no decision"):
        OwnLog(page.log)
    page.log.write_text("")
    OwnLog(page.log).close()
