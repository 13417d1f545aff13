"""`fea analyze`: Action Units, emotion and reasoning of images, from a trained run."""

from __future__ import annotations

import sys
from pathlib import Path

from fea.analysis.analyzer import _example, _files, _rows
from fea.analysis.tables import _csv, _jsonl
from fea.errors import FEAError
from fea.facs import emotion_set
from fea.model.checkpoints import load_policy
from fea.model.config import Device
from fea.model.sampling import Generation
from fea.system.files import write_atomically


def analyze(
    images: list[str],
    *,
    model: str,
    out: str | None = None,
    question: str = "",
    emotions: str | list[str] | None = None,
    batch_size: int = 32,
    num_workers: int = 2,
    max_tokens: int = 256,
    device: Device = "auto",
) -> int:
    """Names the Action Units and the emotion of faces, with the reasoning; one row an image.

    Args:
        images: image files, or folders of them.
        model: run (folder or checkpoint) that `fea fit` wrote.
        out: file for the answers, .csv or .jsonl; by default they are printed as CSV.
        question: asked instead of the default question.
        emotions: allowed emotions; by default those the model was trained with.
        batch_size: images at a time.
        num_workers: processes that read images ahead, if there are more than one batch of them.
        max_tokens: length limit of an answer.
        device: "cpu", "cuda" or "auto".

    Returns:
        0, or 2 if an image could not be read; it has a row too, which says why.

    Raises:
        FEAError: there is no image or no such run, `out` has another ending, or a number is below 1.
    """
    files = _files(images)
    for name, number in {"batch_size": batch_size, "max_tokens": max_tokens}.items():
        if number < 1:
            raise FEAError(f"{name}: {number}; give at least 1")
    if out and Path(out).suffix not in (".csv", ".jsonl"):
        raise FEAError(f"out: '{out}' ends neither in .csv nor in .jsonl")
    policy, trained = load_policy(model, device)
    if trained.datasets == {"faces"}:
        print("note: this model has seen drawn faces only; what it says of photographs means nothing", file=sys.stderr)
    allowed = trained.emotions if emotions is None else emotion_set(emotions)
    examples = [_example(file, question, allowed) for file in files]
    workers = num_workers if len(files) > batch_size else 0
    rows = _rows(policy, examples, batch_size, workers, Generation(max_tokens))
    text = _jsonl(rows) if out and out.endswith(".jsonl") else _csv(rows)
    if out:
        write_atomically(Path(out), text.encode())
    else:
        print(text, end="")
    return 2 if any(row["error"] for row in rows) else 0
