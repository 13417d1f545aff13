"""`fea analyze`: Action Units, emotion and reasoning of images, from a trained run."""

from __future__ import annotations

import sys
from pathlib import Path

from fea.errors import FEAError
from fea.model.config import Device


def analyze(
    images: list[str],
    *,
    model: str,
    base: str | None = None,
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
        base: folder or hub name of the model that it was trained on, if that is no longer where it was.
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
    from fea.analysis.analyzer import check_at_least_1, image_files, load
    from fea.analysis.tables import to_csv, write_results

    files = image_files(images)  # like the rest, before a model of many gigabytes is read
    check_at_least_1(batch_size=batch_size, max_tokens=max_tokens)
    if out and Path(out).suffix not in (".csv", ".jsonl"):
        raise FEAError(f"out: '{out}' ends neither in .csv nor in .jsonl")
    analyzer = load(model, device, base)
    if analyzer.datasets == {"faces"}:
        print("note: this model has seen drawn faces only; what it says of photographs means nothing", file=sys.stderr)
    results = analyzer.analyze(files, question, emotions, batch_size, num_workers, max_tokens)
    if out:
        write_results(results, Path(out))
    else:
        print(to_csv(results), end="")
    return 2 if any(result.error for result in results) else 0
