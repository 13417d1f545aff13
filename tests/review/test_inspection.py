"""What a line shows, which lines a filter finds, and files that cannot be reviewed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reviewing import Page, lines_of, number_of, writer  # noqa: F401

from fea.data import table as tables
from fea.drawn.faces import EMOTIONS
from fea.errors import FEAError
from fea.prompts.answer import render
from fea.records.record import key_of
from fea.review.inspection import Inspection


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


def test_a_file_that_is_known_is_not_read_again(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file = write({}, {"is_valid": False}, {"description": ""}, {})
    keys = [line.key for line in Inspection(file, file.parent, EMOTIONS).lines]
    assert keys == [key_of(lines_of({}, {}, {}, {})[number]) for number in (0, 3)]
    monkeypatch.setattr(tables, "read_lines", lambda *_: pytest.fail("the file is read"))
    again = Inspection(file, file.parent, EMOTIONS)
    assert ([line.key for line in again.lines], again.left_out) == (keys, 1)


def test_filters_offer_what_occurs(write: Callable[..., Path]) -> None:
    choices = (Page(write(*CHANGES)).get("/start").json or {})["choices"]
    assert choices["emotion"] == [["fear", 1], ["happiness", 2], ["unknown", 1]]
    assert choices["au"] == [["AU1", 1], ["AU6", 4], ["AU12", 4]]
    assert [value for value, _ in choices["attempt"]] == ["unknown", "1", "10"]
    assert choices["revealed"] == [["no", 1], ["unknown", 2], ["yes", 1]]


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
