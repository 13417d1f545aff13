"""A reviewer's way through the lines: edits, arrows, what is next and how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from reviewing import Page, number_of, writer  # noqa: F401

from fea.prompts.answer import render


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


@pytest.mark.parametrize(
    "form", [{"verdict": "maybe"}, {"verdict": "reject", "reason": " "}, {"text": " \n"}, {"key": "x"}]
)
def test_what_is_no_decision_is_refused(write: Callable[..., Path], form: dict[str, str]) -> None:
    page = Page(write({}))
    whole = {"key": page.keys[0], "verdict": "accept", "reason": "", "text": "t"}
    answer = page.post("/decide", whole | form)
    assert answer.status_code == 400
    assert page.kept() == []


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


def test_a_preference_pair_is_shown_with_both_sides(write: Callable[..., Path], faces_file: Path) -> None:
    other = {
        "description": render("Smiling (AU1, AU12).", "happiness"),
        "image": "images/2.png",
        "question": "Why AU1?",
    }
    file = write({}, {"rejected": other}, {"rejected": {"question": "Why AU1?"}})
    (file.parent / "images" / "2.png").write_bytes((faces_file.parent / "images" / "5-000001.png").read_bytes())
    page = Page(file)
    assert page.look(0)["line"]["rejected"] is None
    shown = page.look(1)["line"]["rejected"]
    assert (shown["image"], shown["question"]) == (True, "Why AU1?")
    assert ["AU1", "wrong", 1] in shown["analysis"]["pieces"]
    assert page.look(2)["line"]["rejected"] == {"analysis": None, "image": False, "question": "Why AU1?"}
    chosen, rejected = (page.get(f"/{side}/{page.keys[1]}").data for side in ("face", "rejected"))
    assert chosen.startswith(b"\x89PNG")
    assert rejected.startswith(b"\x89PNG")
    assert chosen != rejected
    assert page.get(f"/rejected/{page.keys[2]}").status_code == 400
    page.decide(1, "reject", reason="bad language")
    assert page.kept() == [(page.keys[1], "reject", "bad language", "")]
