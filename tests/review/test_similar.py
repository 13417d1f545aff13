"""Lines that are worded like the one in sight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from reviewing import Page, writer  # noqa: F401

from fea.prompts.answer import render
from fea.retrieval import words

TEXTS = [
    "The cheeks lift (AU6) and the mouth corners are up (AU12).",
    "Nothing moves here.",
    "The mouth corners are up (AU12).",
    "The cheeks lift (AU6), the mouth corners are up (AU12) too.",
]


@pytest.fixture(name="page")
def opened(write: Callable[..., Path]) -> Page:
    return Page(write(*({"description": render(text, "happiness")} for text in TEXTS), {"description": "fear"}))


def test_the_nearest_come_first_with_what_was_decided(page: Page) -> None:
    page.decide(2, "reject", "missed AU")
    found = page.get("/similar", query_string={"key": page.keys[0]}).json
    assert [one["id"] for one in found[:2]] == ["f3", "f2"]
    assert "f0" not in {one["id"] for one in found}
    assert [one["verdict"] for one in found[:2]] == [None, "reject"]
    assert found[0]["score"] > found[1]["score"] > found[2]["score"]
    assert (found[0]["key"], found[0]["place"], found[0]["labels"]) == (page.keys[3], "4", ["happiness"])
    assert found[0]["text"] == TEXTS[3]


def test_a_line_that_is_not_there_is_told(page: Page) -> None:
    answer = page.get("/similar", query_string={"key": "x"})
    assert answer.status_code == 400
    assert "holds no line 'x'" in (answer.json or {})["error"]


def test_without_bm25_the_page_says_what_is_missing(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "find_spec", lambda name: None)
    answer = page.get("/similar", query_string={"key": page.keys[0]})
    assert (answer.status_code, "pip install 'fea[retrieval]'" in (answer.json or {})["error"]) == (400, True)
    monkeypatch.undo()
    assert page.get("/similar", query_string={"key": page.keys[0]}).status_code == 200
