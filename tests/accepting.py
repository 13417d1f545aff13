"""Synthesis with a policy that cannot write yet: by its length, every third text passes."""

from __future__ import annotations

from typing import Any

from fea.callbacks import Synthesis


def failures(answer: Any, example: Any, checks: Any) -> list[Any]:
    return [] if answer.text.strip() and len(answer.text) % 3 == 0 else ["missed"]


class Accepting(Synthesis):
    """Judges by the rule above."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.judge = failures
