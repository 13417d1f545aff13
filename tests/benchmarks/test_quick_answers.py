"""Images a second of each form of answers, and their accuracy beside it, for one run.

FEA_RUN=runs/quick pytest -n 0 -m benchmark tests/benchmarks/test_quick_answers.py -s

The run is any; its forms are fairly compared if it was trained for all of them (`policy.answers`): one that it was not trained
for has a star. FEA_FACES sets how many drawn faces are asked about (300), FEA_SEED which ones (77, of which no demo learns).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import fea
from fea.analysis.analyzer import Analyzer
from fea.drawn.faces import write_faces
from fea.facs import au_number
from fea.prompts.answer import FORMS, Form

TOKENS, WARM = 112, 16

pytestmark = pytest.mark.benchmark


def measured(model: Analyzer, images: Sequence[Path], lines: Sequence[dict[str, list[str]]], form: Form) -> list[str]:
    """The cells of a form: speed, share of right emotions, of readable answers, F1 of all claimed units together."""
    model.analyze(images[:WARM], answer=form, max_tokens=TOKENS, num_workers=0)
    start = time.perf_counter()
    results = model.analyze(images, answer=form, max_tokens=TOKENS, num_workers=0)
    speed = len(images) / (time.perf_counter() - start)
    right = sum(result.emotion in line["labels"] for result, line in zip(results, lines, strict=True))
    valid = sum(result.valid for result in results)
    said = [{au_number(code) for code in result.aus} for result in results]
    there = [{au_number(code) for code in line["AUs"]} for line in lines]
    hits, both = (sum(map(len, sets)) for sets in (map(set.intersection, said, there), [*said, *there]))
    units = "-" if form == "only" else f"{2 * hits / both if both else 1.0:.3f}"
    star = "" if not model.forms or form in model.forms else " *"
    return [f"{form}{star}", f"{speed:.1f}", f"{right / len(images):.3f}", f"{valid / len(images):.3f}", units]


def test_quick_answers(tmp_path: Path) -> None:
    model = fea.load(os.environ["FEA_RUN"], device="cpu")
    faces, seed = int(os.environ.get("FEA_FACES", "300")), int(os.environ.get("FEA_SEED", "77"))
    file = write_faces(tmp_path, faces, seed=seed)
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    images = [file.parent / line["image"] for line in lines]
    rows = [measured(model, images, lines, form) for form in FORMS]
    print("\n| answer | images a second | accuracy | readable | AU F1 (micro) |\n|---|---|---|---|---|")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    assert len(rows) == len(FORMS)
