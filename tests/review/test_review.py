"""Decisions that are never lost, marks that say what the labels say, and a page that answers nobody else."""

from __future__ import annotations

import getpass
import hashlib
import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from fea.cli import main
from fea.data import table as tables
from fea.data.example import Example
from fea.data.record import key_of
from fea.drawn.faces import EMOTIONS
from fea.errors import FEAError
from fea.evaluation.marks import marked
from fea.prompts.answer import parse, render
from fea.review.decisions import Decision, OwnLog, Reviews, agreement, reviews_of, summary
from fea.review.desk import Desk
from fea.review.inspection import Inspection
from fea.web import server
from fea.web.review import make_app

HERE = "http://127.0.0.1:7860"
UNIT = {"AUs": ["AU6", "AU12"], "AUs_coded": ["AU1", "AU6", "AU12"]}


def lines_of(*changes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line for each change, of the first drawn face: a smile with a perfect analysis."""
    smile = {
        "dataset": "d",
        "labels": ["happiness"],
        "description": render("Smiling (AU6, AU12).", "happiness"),
        **UNIT,
    }
    return [
        {"id": f"f{number}", "image": "images/5-000000.png", **smile, **change} for number, change in enumerate(changes)
    ]


@pytest.fixture
def write(tmp_path: Path, faces_file: Path) -> Callable[..., Path]:
    """Writes a file of such lines next to their image."""

    def write(*changes: Mapping[str, Any]) -> Path:
        images = tmp_path / "images"
        images.mkdir(exist_ok=True)
        (images / "5-000000.png").write_bytes((faces_file.parent / "images" / "5-000000.png").read_bytes())
        file = tmp_path / "s.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines_of(*changes)))
        return file

    return write


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Ends the reviews of a test."""
    yield
    while Page.opened:
        Page.opened.pop().desk.close()


class Page:
    """What the page does, without a browser."""

    opened: ClassVar[list[Page]] = []

    def __init__(self, file: Path, reviewer: str = "anna"):
        self.file = file
        self.inspection = Inspection(file, file.parent, EMOTIONS)
        self.desk = Desk(self.inspection, file, reviewer)
        self.opened.append(self)
        self.client: FlaskClient = make_app(self.desk, 7860).test_client()
        self.log = file.parent / "s.jsonl.reviews" / f"{reviewer}.jsonl"
        self.keys = [line.key for line in self.inspection.lines]

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, base_url=HERE, **options)

    def post(self, path: str, form: Mapping[str, str], **options: Any) -> TestResponse:
        return self.client.post(path, data=form, base_url=HERE, headers={"Origin": HERE}, **options)

    def look(self, number: int | None = None, move: str = "here", **settings: str) -> dict[str, Any]:
        key = "" if number is None else self.keys[number]
        answer: dict[str, Any] = self.get("/line", query_string={"key": key, "move": move, **settings}).json or {}
        return answer

    def decide(
        self,
        number: int,
        verdict: str,
        reason: str = "",
        text: str | None = None,
        among: Mapping[str, str] | None = None,
    ) -> Any:
        shown = self.look(number)["line"]["analysis"]["text"]
        form = {"key": self.keys[number], "verdict": verdict, "reason": reason, "text": shown if text is None else text}
        return self.post("/decide", form, query_string=among).json

    def undo(self) -> Any:
        return self.post("/undo", {}).json

    def kept(self) -> list[tuple[str, str, str, str]]:
        entries = [json.loads(line) for line in self.log.read_text().splitlines()]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", entry["time"]) for entry in entries)
        return [(entry["key"], entry["verdict"], entry["reason"], entry["text"]) for entry in entries]


def number_of(answer: Mapping[str, Any]) -> int | None:
    """The line that an answer shows, counted from 0."""
    return answer["line"] and int(answer["line"]["id"].removeprefix("f"))


# --- decisions ---


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


def test_an_edited_text_is_kept_and_marked_anew(write: Callable[..., Path]) -> None:
    page = Page(write({}, {}))
    text = render("Only the corners (AU12).", "fear")
    page.decide(0, "accept", text=text)
    assert page.kept() == [(page.keys[0], "accept", "", text)]
    shown = page.look(0)["line"]
    assert (shown["edited"], shown["verdict"], shown["analysis"]["text"]) == (True, "accept", text)
    assert shown["analysis"]["missed"] == [6]
    assert ["fear", "wrong", 0] in shown["analysis"]["pieces"]
    page.decide(0, "accept")  # as it is shown, and that is edited
    assert page.kept()[-1] == (page.keys[0], "accept", "", text)
    page.decide(0, "accept", text=page.inspection.example(0).analysis)
    assert page.kept()[-1] == (page.keys[0], "accept", "", "")


def test_an_edit_is_marked_before_it_is_kept(write: Callable[..., Path]) -> None:
    page = Page(write({}))
    answer = page.post("/marked", {"key": page.keys[0], "text": render("A brow (AU1).", "happiness")}).json
    assert answer is not None
    assert ["AU1", "wrong", 1] in answer["pieces"]
    assert (answer["missed"], answer["score"], answer["well_formed"]) == ([6, 12], 0.0, True)
    assert page.kept() == []


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


@pytest.mark.parametrize(
    "form", [{"verdict": "maybe"}, {"verdict": "reject", "reason": " "}, {"text": " \n"}, {"key": "x"}]
)
def test_what_is_no_decision_is_refused(write: Callable[..., Path], form: dict[str, str]) -> None:
    page = Page(write({}))
    whole = {"key": page.keys[0], "verdict": "accept", "reason": "", "text": "t"}
    answer = page.post("/decide", whole | form)
    assert answer.status_code == 400
    assert page.kept() == []


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


def test_a_file_that_is_known_is_not_read_again(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file = write({}, {"is_valid": False}, {"description": ""}, {})
    keys = [line.key for line in Inspection(file, file.parent, EMOTIONS).lines]
    assert keys == [key_of(lines_of({}, {}, {}, {})[number]) for number in (0, 3)]
    monkeypatch.setattr(tables, "read_lines", lambda *_: pytest.fail("the file is read"))
    again = Inspection(file, file.parent, EMOTIONS)
    assert ([line.key for line in again.lines], again.left_out) == (keys, 1)


def test_a_rewritten_line_is_open_again(write: Callable[..., Path]) -> None:
    page = Page(write({}, {}))
    page.decide(0, "accept")
    page.desk.close()
    again = Page(write({"description": render("New (AU6).", "happiness")}, {}))
    assert again.look(0)["line"]["verdict"] is None
    assert again.desk.told() == ["anna: 0 accepted (0 of them edited), 0 rejected, 0 skipped"]
    assert again.undo() == {"error": "there is no decision to take back"}


# --- two reviewers ---


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
from fea.review.decisions import OwnLog
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


# --- what is shown ---


def example(labels: tuple[str, ...] = ("happiness",)) -> Example:
    return Example(
        "1", "d", "i.png", "f:1", "", frozenset({"AU6", "AUL12"}), frozenset({1, 6, 12}), labels, EMOTIONS, None, {},
        None, None, "{}",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (render("AU6", "happy"), [("AU6", "right", 6), ("happy", "right", 0)]),
        (render("AU1 and 12", "fear"), [("AU1", "wrong", 1), ("12", "right", 12), ("fear", "wrong", 0)]),
        (render("AU4, AU99", "joy"), [("AU4", "unknown", 4), ("AU99", "unknown", 99), ("joy", "right", 0)]),
        (render("No AU1. Maybe AU6.", "x"), [("AU1", "supposed", 1), ("AU6", "supposed", 6), ("x", "wrong", 0)]),
        ("AU6 outside <think>AU6", []),
        ("plain", []),
        ("<think>AU6</think> AU12", [("AU6", "right", 6)]),
        ("<answer>happy</answer> <answer>fear</answer>", [("happy", "wrong", 0)]),
        ("<answer></answer><think></think>", []),
    ],
)
def test_claims_are_marked_by_the_labels_and_the_text_stays_whole(text: str, kinds: list[tuple[str, str, int]]) -> None:
    found = marked(parse(text, EMOTIONS), example())
    assert "".join(piece.text for piece in found.pieces) == text
    assert [tuple(piece) for piece in found.pieces if piece.kind not in ("plain", "tag")] == kinds
    assert all(re.fullmatch("</?(think|answer)>", piece.text) for piece in found.pieces if piece.kind == "tag")


def test_units_that_are_there_and_not_claimed_are_missed() -> None:
    assert marked(parse(render("No AU6.", "fear"), EMOTIONS), example()).missed == [6, 12]


def test_nothing_is_right_or_wrong_without_labels() -> None:
    bare = example(())._replace(aus=None, coded=frozenset())
    found = marked(parse(render("AU6", "fear"), EMOTIONS), bare)
    assert {piece.kind for piece in found.pieces} == {"tag", "unknown"}
    assert (found.score, found.missed) == (None, [])


def test_a_line_shows_its_labels(write: Callable[..., Path]) -> None:
    meta = {"synthesis": {"attempt": 3, "revealed": True, "round": 0}}
    change = {"AUs": ["AUL12", "AU6"], "AU_intensities": {"AU6": 4}, "question": "Why?", "meta_info": meta}
    shown = Page(write({}, change)).look(1)["line"]
    assert shown["present"] == [[6, "AU6", 4], [12, "AUL12", None]]
    assert (shown["absent"], shown["labels"], shown["coded"]) == ([1], ["happiness"], True)
    assert (shown["attempt"], shown["revealed"], shown["question"], shown["place"]) == ("3", "yes", "Why?", "2")


CHANGES: list[dict[str, Any]] = [
    {"meta_info": {"synthesis": {"attempt": 1, "revealed": False}}},
    {"meta_info": {"synthesis": {"attempt": 10, "revealed": True}}, "description": render("AU6", "happiness")},
    {"labels": ["fear"], "description": render("AU1, AU6, AU12", "fear"), "meta_info": "by hand"},
    {"labels": [], "AUs": None, "AUs_coded": None, "meta_info": {"synthesis": "by hand"}},
]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, [0, 1, 2, 3]),
        ({"emotion": "happiness"}, [0, 1]),
        ({"emotion": "unknown"}, [3]),
        ({"au": "AU1"}, [2]),  # claimed and not there
        ({"au": "AU12"}, [0, 1, 2, 3]),  # there and not claimed counts, too
        ({"attempt": "10"}, [1]),
        ({"attempt": "unknown"}, [2, 3]),
        ({"revealed": "no"}, [0]),
        ({"least": "0.8"}, [0, 2]),
        ({"most": "0.8"}, [1, 2]),
        ({"least": "0.7", "most": "0.9", "emotion": "fear"}, [2]),
        ({"verdict": "undecided"}, [0, 2, 3]),
        ({"verdict": "accept"}, [1]),
        ({"verdict": "accept", "emotion": "fear"}, []),
    ],
)
def test_filters(write: Callable[..., Path], settings: dict[str, str], found: list[int]) -> None:
    page = Page(write(*CHANGES))
    page.decide(1, "accept")
    numbers: list[int] = []
    answer = page.look(0, "match", **settings)
    while answer["line"] and number_of(answer) not in numbers:
        numbers.append(number_of(answer) or 0)
        answer = page.look(numbers[-1], "next", **settings)
    assert numbers == found
    assert answer["found"][0] == len(found)


def test_a_score_that_is_no_number_is_refused(write: Callable[..., Path]) -> None:
    assert Page(write({})).look(0, least="much") == {"error": "least: 'much' is no number; give a score from 0 to 1"}


def test_filters_offer_what_occurs(write: Callable[..., Path]) -> None:
    choices = (Page(write(*CHANGES)).get("/start").json or {})["choices"]
    assert choices["emotion"] == [["fear", 1], ["happiness", 2], ["unknown", 1]]
    assert choices["au"] == [["AU1", 1], ["AU6", 4], ["AU12", 4]]
    assert [value for value, _ in choices["attempt"]] == ["unknown", "1", "10"]
    assert choices["revealed"] == [["no", 1], ["unknown", 2], ["yes", 1]]


def test_progress_is_of_all_and_of_the_filtered(write: Callable[..., Path]) -> None:
    page = Page(write({}, {"labels": ["fear"]}, {"labels": ["fear"]}, {}))
    page.decide(1, "accept")
    answer = page.look(2, emotion="fear")
    assert answer["counts"] == {"undecided": 3, "accept": 1}
    assert (answer["found"], answer["place"]) == ([2, 1, 2], 2)
    assert page.look(2, emotion="fear", verdict="undecided")["found"] == [1, 1, 2]


def test_arrows_stop_at_the_ends_and_decisions_go_round(write: Callable[..., Path]) -> None:
    page = Page(write({}, {}, {}))
    assert number_of(page.look(2, "next")) == 2
    assert number_of(page.look(0, "previous")) == 0
    assert number_of(page.look(2, "previous")) == 1
    answer = page.decide(2, "accept")
    assert (number_of(answer), answer["ahead"]) == (0, page.keys[1])
    answer = page.decide(1, "accept")
    assert (number_of(answer), answer["ahead"]) == (0, None)
    answer = page.decide(0, "accept")
    assert (answer["line"], answer["ahead"], answer["place"]) == (None, None, None)
    assert number_of(page.look(1, "previous")) == 0


def test_decided_lines_can_be_gone_through_again(write: Callable[..., Path]) -> None:
    page = Page(write({}, {}, {}, {}))
    for number in (0, 1, 3):
        page.decide(number, "accept")
    assert number_of(page.decide(1, "reject", reason="other", among={"verdict": "accept"})) == 3


# --- the command and the file ---


@pytest.fixture(autouse=True)
def _ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command ends as soon as its page could be asked for."""

    class Ended:
        def serve_forever(self) -> None:
            pass

    monkeypatch.setattr(server, "make_server", lambda *_, **__: Ended())


def run(file: Path, *options: str) -> int:
    return main(["review", str(file), "--reviewer", "anna", "--port", str(free_port()), *options])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_the_command_says_what_there_is(write: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    file = write({}, {"description": None}, {}, {"is_valid": False})
    Page(file, "ben").decide(0, "accept")
    assert run(file) == 0
    out = capsys.readouterr().out
    assert "2 lines with an analysis; 1 without one are left out" in out
    assert out.count("ben: 1 accepted (0 of them edited), 0 rejected, 0 skipped\n") == 2
    assert "anna reviews at http://127.0.0.1:" in out


def test_the_reviewer_is_who_is_logged_in(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "zoe")
    assert main(["review", str(write({})), "--port", str(free_port())]) == 0
    assert "zoe reviews at" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--reviewer", "../x"], "reviewer: '../x' is no plain name"),
        (["--reviewer", "a.b"], "reviewer: 'a.b' is no plain name"),
        (["--reviewer", ""], "reviewer: '' is no plain name"),
        (["--reviewer", "anna\n"], "is no plain name"),
        (["--port", "80"], "port: 80; give one from 1024 to 65535"),
        (["--emotions", "basic9"], "'basic9' is no preset"),
    ],
)
def test_bad_options_are_one_sentence(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    file = write({})
    assert run(file, *options) == 2
    assert told in capsys.readouterr().err
    assert not file.with_name("s.jsonl.reviews").exists()


def test_a_taken_port_is_one_sentence(write: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(write({}), "--port", str(port)) == 2
    assert capsys.readouterr().err == (
        f"fea: error: port: {port} is taken by another program; give another one with --port\n"
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([{}, {"labels": ["grumpy"]}], r"s\.jsonl:2: .*unknown emotion"),
        ([{}, {}, {"id": "f0"}], r"s\.jsonl:3: same 'id' and 'description' as .*s\.jsonl:1; give each line"),
        ([{"description": None}], "no line of .* has an analysis"),
    ],
)
def test_files_that_cannot_be_reviewed_are_refused(
    write: Callable[..., Path], changes: list[dict[str, Any]], told: str
) -> None:
    file = write(*changes)
    with pytest.raises(FEAError, match=told):
        Inspection(file, file.parent, EMOTIONS)


# --- who is answered ---


@pytest.mark.parametrize(
    "host", ["evil.example:7860", "127.0.0.1:7861", "127.0.0.1", "localhost", "127.0.0.1.nip.io:7860"]
)
@pytest.mark.parametrize("path", ["/", "/start", "/line?key=&move=here", "/static/review.js"])
def test_other_names_are_refused(write: Callable[..., Path], host: str, path: str) -> None:
    page = Page(write({}))
    assert page.client.get(path, base_url=f"http://{host}").status_code == 403
    assert page.client.get(path, base_url="http://localhost:7860").status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:8000", "https://127.0.0.1:7860", "null", None]
)
def test_decisions_of_other_pages_are_refused(write: Callable[..., Path], origin: str | None) -> None:
    page = Page(write({}))
    form = {"key": page.keys[0], "verdict": "accept", "reason": "", "text": "t"}
    headers = {} if origin is None else {"Origin": origin}
    for path in ("/decide", "/undo"):
        assert page.client.post(path, data=form, base_url=HERE, headers=headers).status_code == 403
    assert page.kept() == []


@pytest.mark.parametrize(
    "path",
    ["/face/x", "/face/../s.jsonl", "/face/..%2f..%2fetc%2fpasswd", "/face/%2e%2e/s.jsonl", "/static/../review.py",
     "/static/..%2freview.py", "/face/images/5-000000.png"],
)  # fmt: skip
def test_nothing_but_faces_and_the_page_is_served(write: Callable[..., Path], path: str) -> None:
    answer = Page(write({})).get(path)
    assert answer.status_code in (400, 404)
    assert answer.is_json


def test_faces_are_served_as_pictures_of_the_page(write: Callable[..., Path]) -> None:
    page = Page(write({}, {"image": "images/large.bmp"}, {"image": "images/no.png"}, {"image": "s.jsonl"}))
    face = Image.open(page.file.parent / "images" / "5-000000.png").convert("RGB")
    face.resize((3000, 1500)).save(page.file.parent / "images" / "large.bmp")
    shown = page.get(f"/face/{page.keys[0]}")
    assert (shown.mimetype, Image.open(io.BytesIO(shown.data)).tobytes()) == ("image/png", face.tobytes())
    assert Image.open(io.BytesIO(page.get(f"/face/{page.keys[1]}").data)).size == (1024, 512)
    for number, told in ((2, r"s\.jsonl:3: image '.*no\.png' does not exist"), (3, "cannot be read")):
        answer = page.get(f"/face/{page.keys[number]}")
        assert answer.status_code == 400
        assert re.search(told, (answer.json or {})["error"])


def test_the_page_may_load_nothing_from_elsewhere(write: Callable[..., Path]) -> None:
    page = Page(write({}))
    for path in ("/", "/static/review.js", "/start", "/nowhere"):
        answer = page.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        assert (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"]) == ("nosniff", "no-store")
    for file in (Path(server.__file__).parent / "static").iterdir():
        links = set(re.findall(r"https?://[^\s\"']+", file.read_text()))
        assert links <= {"http://www.w3.org/2000/svg"}, file


def test_help_does_not_wait_for_the_page() -> None:
    code = "import fea.cli, sys; sys.exit('flask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
