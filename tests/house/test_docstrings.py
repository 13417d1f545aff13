"""The examples of the records that are handed over hold, literally."""

from __future__ import annotations

import doctest
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

RECORDS = {
    "fea.data.example": "Example",
    "fea.prompts.answer": "Answer",
    "fea.data.prompt": "Prompt",
    "fea.rollouts.rollout": "Rollout",
    "fea.rollouts.buffer": "Buffer",
}


@pytest.mark.parametrize(("module", "record"), RECORDS.items())
def test_a_record_shows_an_example_of_itself(module: str, record: str) -> None:
    found: ModuleType = import_module(module)
    kind: Any = getattr(found, record)
    assert ">>>" in kind.__doc__
    outcome = doctest.testmod(found)
    assert outcome.attempted > 0
    assert outcome.failed == 0
