"""The rounds of a pruning, kept beside its folder as they are done: one that was killed goes on behind the last of them.

OUT.rounds      {"run": ..., "criterion": "pip", ...}                what they depend on
{"dropped": [8], "scores": {"1": 0.05, ...}}         a round
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fea.errors import FEAError
from fea.pruning.rounds import Round
from fea.system.lines import append, keep_lines, whole_lines


class Journal:
    """What has been done of a pruning.

    Args:
        out: folder that is to be written.
        settings: what the rounds depend on, as JSON has it.

    Attributes:
        rounds: those that are done.

    Raises:
        FEAError: they were begun with other settings, or the file holds something else.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]):
        self.file = out.with_name(f"{out.name}.rounds")
        try:
            lines = whole_lines(self.file)
        except ValueError as error:
            raise FEAError(
                f"out: '{self.file}' holds no rounds of a pruning; remove it, or choose another folder"
            ) from error
        if lines and lines[0] != settings:
            begun = lines[0] if isinstance(lines[0], dict) else {}
            differing = ", ".join(sorted(name for name in settings if begun.get(name) != settings[name]))
            raise FEAError(
                f"out: '{self.file}' holds rounds of another pruning ({differing or 'of another release'}); give the same to "
                "go on with it, choose another folder, or remove that file"
            )
        self.settings = settings
        self.rounds = [_round(line) for line in lines[1:]]

    def add(self, told: Round) -> None:
        """Keeps a round."""
        lines = len(self.rounds) + 1 if self.rounds else 0
        self.file.parent.mkdir(parents=True, exist_ok=True)
        keep_lines(self.file, lines)  # a line that a kill cut short goes
        append(self.file, [*([] if lines else [self.settings]), told._asdict()])
        self.rounds.append(told)

    def close(self) -> None:
        """Takes the file away: the folder is there."""
        self.file.unlink(missing_ok=True)


def _round(line: Mapping[str, Any]) -> Round:
    return Round(line["dropped"], {int(layer): score for layer, score in line["scores"].items()})
