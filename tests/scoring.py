"""Labels and answers in files for tests of scores by protocols, and `fea score` over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from fea.cli import main
from fea.datasets.bp4d import BP4D
from fea.datasets.disfa import DISFA
from fea.prompts.answer import render

LISTS = {"disfa-8": DISFA, "bp4d-12": BP4D}
FIXED = {"disfa-8": (1, 2, 4, 6, 9, 12, 25, 26), "bp4d-12": (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)}


class Ran(NamedTuple):
    """What came of a command.

    Attributes:
        code: of the command.
        told: what was printed.
        error: the sentence about bad input.
        metrics: of the file; empty if there is none.
    """

    code: int
    told: str
    error: str
    metrics: dict[str, Any]


def write(file: Path, *rows: dict[str, Any]) -> Path:
    """A file of JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def run(capsys: pytest.CaptureFixture[str], *words: object, out: Path | None = None) -> Ran:
    """Runs `fea score`; without intervals, which take time, unless they are asked for."""
    capsys.readouterr()
    more = [] if "--draws" in words else ["--draws", "0"]
    code = main(["score", *map(str, words), *more, *(["-o", str(out)] if out else [])])
    shown = capsys.readouterr()
    file = out / "metrics.json" if out else None
    metrics = json.loads(file.read_text(encoding="utf-8")) if file and file.exists() else {}
    return Ran(code, shown.out, shown.err, metrics)


class Folded(NamedTuple):
    """Random labels and claims on the people of the published folds.

    Attributes:
        labels: lines of the data file.
        answers: lines of the answers.
        truth: (F, U) of the fixed list.
        claimed: (F, U) likewise.
        fold: (F,) the test fold of each face.
    """

    labels: list[dict[str, Any]]
    answers: list[dict[str, Any]]
    truth: np.ndarray
    claimed: np.ndarray
    fold: np.ndarray


def folded(protocol: str, faces: int = 7, seed: int = 3) -> Folded:
    """Random ones, so that every unit of the list has hits, misses and inventions.

    Args:
        protocol: "disfa-8" or "bp4d-12".
        faces: of each person.
        seed: of all that is drawn.
    """
    generator, known = np.random.default_rng(seed), LISTS[protocol]
    fixed = FIXED[protocol]
    others = sorted((known.coded or frozenset((1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24, 28))) - set(fixed))
    units, people = [*fixed, *others], sorted(set().union(*known.folds))
    labels, answers, truths, claims, folds = [], [], [], [], []
    rates = generator.uniform(0.1, 0.7, len(units))
    for person in people:
        for number in range(faces):
            grades = generator.integers(0, 6, len(units)) * (generator.random(len(units)) < rates)
            truth = grades >= 2 if protocol == "disfa-8" else grades > 0
            claimed = np.where(generator.random(len(units)) < 0.6, truth, generator.random(len(units)) < 0.4)
            name = f"{person}-{number}"
            line: dict[str, Any] = {
                "id": name, "dataset": known.name.upper(), "image": f"{person}/{number}.png", "labels": [],
                "AUs": [f"AU{u}" for u, on in zip(units, truth, strict=True) if on],
                "AUs_coded": [f"AU{u}" for u in units], "meta_info": {"subject": person},
            }  # fmt: skip
            if protocol == "disfa-8":
                line["AU_intensities"] = {f"AU{u}": int(g) for u, g in zip(units, grades, strict=True)}
            labels.append(line)
            named = ", ".join(f"AU{u}" for u, on in zip(units, claimed, strict=True) if on) or "nothing"
            answers.append({"id": name, "text": render(f"There is {named}.", "neutral")})
            truths.append(truth[: len(fixed)])
            claims.append(claimed[: len(fixed)])
            folds.append(next(n for n, part in enumerate(known.folds, 1) if person in part))
    return Folded(labels, answers, np.array(truths), np.array(claims), np.array(folds))
