"""300 answers as models and people write them, and what a careful reader takes from each.

`texts.jsonl` holds the text, the units that are claimed of this face, the emotion and whether it is well-formed (null where a
reader could go either way). `misread` names what is read otherwise today: it is taken out when a text is read right.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fea.facs import EMOTION_SETS
from fea.prompts.answer import parse

FILE = Path(__file__).with_name("texts.jsonl")
TEXTS: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def misread(text: dict[str, Any]) -> list[str]:
    """What is read otherwise: "invented" and "missed" units, the "emotion", the "form"."""
    allowed = EMOTION_SETS[text["emotions"]]
    answer = parse(text["text"], allowed)
    right = set(text["aus"])
    wrong = {
        "invented": bool(answer.aus - right),
        "missed": bool(right - answer.aus),
        "emotion": (answer.emotion if answer.emotion in allowed else None) != text["emotion"],
        "form": text["well_formed"] is not None and answer.well_formed != text["well_formed"],
    }
    return [name for name, is_wrong in wrong.items() if is_wrong]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: f"{text['id']} {text['style']}")
def test_a_text_is_read_as_a_reader_reads_it(text: dict[str, Any]) -> None:
    assert misread(text) == text.get("misread", [])


def test_over_claiming_and_under_claiming_are_rare() -> None:
    found = [name for text in TEXTS for name in misread(text)]
    shares = {name: found.count(name) / len(TEXTS) for name in ("invented", "missed", "emotion", "form")}
    # A policy under training finds what is over-claimed, so that is held as low as what is under-claimed.
    assert shares["invented"] <= 0.05, shares
    assert shares["missed"] <= 0.07, shares
    assert shares["emotion"] <= 0.02, shares
    assert shares["form"] == 0, shares
