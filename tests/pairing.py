"""Preference pairs for tests: drawn faces whose text is preferred to a changed one, whose image to another face."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from fea.preference import EMPOModule


def pairs_file(faces: Path, out: Path, parts: tuple[str, ...] = ("description", "image", "question")) -> Path:
    """A file of pairs, whose images are relative to the folder of the faces.

    Args:
        faces: JSONL of drawn faces with analyses.
        out: the file.
        parts: that are rejected.
    """
    lines = [json.loads(line) for line in faces.read_text().splitlines()]
    others = [*lines[1:], lines[0]]
    out.write_text(
        "".join(json.dumps(_pair(line, other, parts)) + "\n" for line, other in zip(lines, others, strict=True))
    )
    return out


def _pair(line: dict, other: dict, parts: tuple[str, ...]) -> dict:  # type: ignore[type-arg]
    swapped = line["description"].replace("</think>", " The tongue is out (AU19).</think>")
    whole = {
        "description": swapped,
        "image": other["image"],
        "question": "AU19 is visible; which emotion is it, and why?",
    }
    question = "Which emotion is it, and why?" if "question" in parts else ""
    return {**line, "question": question, "rejected": {name: whole[name] for name in parts}}


class Steady(EMPOModule):
    """With SGD: whatever differs then, differs in the arithmetic."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.02)
