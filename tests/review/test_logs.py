"""Logs that another program changes while they are open: it is noticed before anything is written, and nothing is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from reviewing import Page, writer  # noqa: F401

from fea.errors import FEAError
from fea.review.logs import OwnLog, reviews_of

FOREIGN = {"key": "k", "verdict": "skip", "reason": "", "text": "", "time": "2020-01-01T00:00:00+00:00"}


def decided(file: Path) -> Page:
    """A page after two decisions about the first two of four lines."""
    page = Page(file)
    page.decide(0, "accept")
    page.decide(1, "reject", reason="wrong AU")
    return page


def cut_short(log: Path) -> None:
    os.truncate(log, log.stat().st_size - 20)


def replaced(log: Path) -> None:
    other = log.with_suffix(".new")
    other.write_bytes(log.read_bytes().splitlines(keepends=True)[0])
    other.replace(log)


def rewritten_at_its_old_size(log: Path) -> None:
    stat, text = log.stat(), log.read_text()
    log.write_text(text.replace("accept", "reject"))
    os.utime(log, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert log.stat().st_size == stat.st_size


def spoiled_at_its_end(log: Path) -> None:
    log.write_bytes(log.read_bytes() + b"no decision\n")


def begun_anew_at_its_end(log: Path) -> None:
    log.write_bytes(log.read_bytes() + b'{"key": "k"')


def made_a_folder(log: Path) -> None:
    log.unlink()
    log.mkdir()


CHANGES = [cut_short, replaced, rewritten_at_its_old_size, spoiled_at_its_end, begun_anew_at_its_end, made_a_folder]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_log_is_noticed_and_both_versions_stay(
    write: Callable[..., Path], change: Callable[[Path], None]
) -> None:
    page = decided(write({}, {}, {}, {}))
    before = page.kept()
    change(page.log)
    left = page.log.read_bytes() if page.log.is_file() else None
    told = page.decide(2, "accept")
    aside = page.log.with_name("anna.jsonl.changed-1")
    assert told == {
        "error": f"another program has changed '{page.log}': what it left is '{aside.name}' now, and all decisions so far "
        "stand in it again; this one was not kept: look at the line again, and decide once more"
    }
    assert page.kept() == before
    assert (aside.read_bytes() if left is not None else None) == left
    assert page.decide(2, "accept")["counts"] == {"accept": 2, "reject": 1, "undecided": 1}
    page.desk.close()
    assert [entry[:2] for entry in Page(page.file).kept()] == [
        (page.keys[0], "accept"), (page.keys[1], "reject"), (page.keys[2], "accept"),
    ]  # fmt: skip


@pytest.mark.parametrize("emptied", [False, True])
def test_a_log_that_is_gone_is_there_again(write: Callable[..., Path], emptied: bool) -> None:
    page = decided(write({}, {}, {}, {}))
    before = page.log.read_bytes()
    if emptied:
        os.truncate(page.log, 0)
    else:
        page.log.unlink()
    told = page.undo()["error"]
    assert told.startswith(f"another program has changed '{page.log}': ")
    assert page.log.read_bytes() == before
    assert page.undo()["counts"] == {"accept": 1, "undecided": 3}


def test_a_second_change_gets_a_name_of_its_own(write: Callable[..., Path]) -> None:
    page = decided(write({}, {}, {}, {}))
    for number in (1, 2):
        replaced(page.log)
        assert f"anna.jsonl.changed-{number}" in page.decide(2, "accept")["error"]
    assert len(list(page.log.parent.glob("anna.jsonl.changed-*"))) == 2
    assert list(reviews_of(page.file)) == ["anna"]


def test_decisions_that_were_added_count_and_the_next_one_is_asked_for_again(write: Callable[..., Path]) -> None:
    page = decided(write({}, {}, {}, {}))
    with page.log.open("a") as log:
        log.write(json.dumps({**FOREIGN, "key": page.keys[2]}) + "\n")
    told = page.decide(2, "accept")["error"]
    assert told.startswith(
        f"another program has added decisions to '{page.log}', and they count; this one was not kept"
    )
    assert page.look(2)["line"]["verdict"] == "skip"
    page.decide(2, "accept")
    assert [entry[1] for entry in page.kept()] == ["accept", "reject", "skip", "accept"]


def test_a_log_that_was_only_touched_is_as_it_was(write: Callable[..., Path]) -> None:
    page = decided(write({}, {}, {}, {}))
    content = page.log.read_bytes()
    page.log.unlink()
    page.log.write_bytes(content)
    assert "error" not in page.decide(2, "accept")


def test_a_change_is_put_right_at_the_end_too(write: Callable[..., Path]) -> None:
    page = decided(write({}, {}, {}, {}))
    before = page.log.read_bytes()
    replaced(page.log)
    with pytest.raises(FEAError, match=r"all decisions so far stand in it again$"):
        page.desk.close()
    assert page.log.read_bytes() == before
    Page(page.file)  # nobody holds the log any more


@pytest.mark.parametrize("change", [cut_short, replaced, rewritten_at_its_old_size])
def test_the_log_of_another_reviewer_is_read_anew(write: Callable[..., Path], change: Callable[[Path], None]) -> None:
    file = write({}, {}, {}, {})
    ben, anna = Page(file, "ben"), Page(file)
    for number in range(2):
        ben.decide(number, "accept")
    assert anna.look()["summary"][1].startswith("ben: 2 accepted")
    change(ben.log)
    read = {cut_short: "ben: 1 accepted", replaced: "ben: 1 accepted", rewritten_at_its_old_size: "ben: 0 accepted"}
    assert anna.look()["summary"][1].startswith(read[change])


def test_a_damaged_log_of_another_reviewer_is_told_and_stops_nobody(write: Callable[..., Path]) -> None:
    page = decided(write({}, {}, {}, {}))
    page.log.with_name("ben.jsonl").write_text("no decision\n")
    told = page.decide(2, "accept")
    assert told["summary"] == [f"{page.log.with_name('ben.jsonl')}:1: this is no decision; mend or delete the line"]
    assert len(page.kept()) == 3


@pytest.mark.parametrize(
    "line", [{**FOREIGN, "key": [1]}, {**FOREIGN, "text": None}, {**FOREIGN, "key": 1}, "[" * 100_000]
)
def test_lines_of_other_types_are_no_decisions(tmp_path: Path, line: object) -> None:
    (tmp_path / "a.jsonl").write_text(f"{line if isinstance(line, str) else json.dumps(line)}\n")
    with pytest.raises(FEAError, match=r"a\.jsonl:1: this is no decision"):
        OwnLog(tmp_path / "a.jsonl")


def test_what_was_never_decided_cannot_be_taken_back(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({**FOREIGN, "verdict": "undo"}) + "\n")
    assert OwnLog(tmp_path / "a.jsonl").standing == []
