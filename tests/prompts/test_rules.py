"""Each rule of what a text claims, on the example that stands with it."""

from __future__ import annotations

import pytest

from fea.prompts import claims
from fea.prompts.mentions import find_mentions
from fea.prompts.rules import RULES, Rule


def claimed(text: str) -> list[bool]:
    return [mention.claimed for mention in find_mentions(text) if mention.number == 4]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.example)
def test_a_rule_reads_its_example_and_nothing_else_does(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    below = (
        "Absent:\n- " if rule.verdict == "claimed" and rule.side == "after" else ""
    )  # there it has something to overrule
    assert claimed(below + rule.example) == [rule.verdict == "claimed"]
    for name in ("_said_before", "_said_after"):  # remember what they said by all rules
        monkeypatch.setattr(claims, name, getattr(claims, name).__wrapped__)
    for name in ("BEFORE", "AFTER"):
        monkeypatch.setattr(claims, name, tuple(other for other in getattr(claims, name) if other is not rule))
    assert claimed(below + rule.example) == [rule.verdict != "claimed"]
