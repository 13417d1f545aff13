"""Marks that say what the labels say."""

from __future__ import annotations

import re

import pytest

from fea.data.example import Example
from fea.drawn.faces import EMOTIONS
from fea.evaluation.marks import marked
from fea.prompts.answer import parse, render


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
