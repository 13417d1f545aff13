"""`fea analyze`: Action Units, emotion and reasoning of images, from a trained run or any other model."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fea.errors import FEAError
from fea.images.opening import MOST_PIXELS, check_most_pixels
from fea.model.config import Device

if TYPE_CHECKING:
    from fea.analysis.tables import AnswerFile, Result


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
    max_image_pixels: int = MOST_PIXELS,
    device: Device = "auto",
) -> int:
    """Names the Action Units and the emotion of faces, with the reasoning; one row an image.

    Args:
        images: image files, or folders of them; what is left out of a folder is told.
        model: run (folder or checkpoint) that `fea fit` wrote; or folder or hub name of a base, which is asked as it is, of an
            exported model or of an adapter of PEFT.
        base: folder or hub name of the model that a run or an adapter was trained on, if that is no longer where it was.
        out: file for the answers, .csv or .jsonl, which grows with them; by default they are printed as CSV.
        question: asked instead of the default question.
        emotions: allowed emotions; by default those the model was trained with.
        batch_size: images at a time.
        num_workers: processes that read images ahead, if there are more than one batch of them.
        max_tokens: length limit of an answer.
        max_image_pixels: an image with more is not read; the default is 8192 x 8192.
        device: "cpu", "cuda" or "auto".

    Returns:
        0, or 2 if an image could not be read; it has a row too, which says why.

    Raises:
        FEAError: there is no image or no such run, `out` has another ending or holds something else, or a number is below 1.
    """
    from fea.analysis.analyzer import check_at_least_1, image_files, load
    from fea.analysis.tables import AnswerFile, check_place, to_csv

    files = image_files(images)  # like the rest, before a model of many gigabytes is read
    check_at_least_1(batch_size=batch_size, max_tokens=max_tokens)
    check_most_pixels("max_image_pixels", max_image_pixels)
    if out and Path(out).suffix not in (".csv", ".jsonl"):
        raise FEAError(f"out: '{out}' ends neither in .csv nor in .jsonl")
    if out:
        check_place(Path(out))
    analyzer = load(model, device, base)
    if analyzer.datasets == {"faces"}:
        print("note: this model has seen drawn faces only; what it says of photographs means nothing", file=sys.stderr)
    parts = analyzer.in_parts(files, question, emotions, batch_size, num_workers, max_tokens, max_image_pixels)
    if out:
        return _written(parts, AnswerFile(Path(out)))
    unread = 0
    for number, results in enumerate(parts):
        print(to_csv(results, header=not number), end="", flush=True)
        unread += sum(bool(result.error) for result in results)
    return 2 if unread else 0


def _written(parts: Iterable[Sequence[Result]], file: AnswerFile) -> int:
    """Writes answers as they come; returns 2 if an image could not be read, else 0."""
    unread = 0
    try:
        for results in parts:
            file.write(results)
            unread += sum(bool(result.error) for result in results)
        file.finish()
    except BaseException:
        if file.count:
            print(f"note: the {file.count} answers so far are in '{file.place}'", file=sys.stderr)
        raise
    return 2 if unread else 0
