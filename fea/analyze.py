"""`fea analyze`: Action Units, emotion and reasoning of images, from a trained run."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fea.data.example import Example
from fea.data.loader import EpochSampler, Loader
from fea.errors import FEAError
from fea.facs import emotion_set
from fea.model.checkpoints import load_policy
from fea.model.config import Device
from fea.model.decoding import Trunk
from fea.model.policy import Policy
from fea.model.sampling import Generation
from fea.prompts.answer import Answer
from fea.rollouts.rollout import ask
from fea.system.files import write_atomically

_POOL = 8  # batches that are read ahead and sorted
_COLUMNS = ("image", "AUs", "emotion", "reasoning", "valid", "text", "error")
_IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


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
    if set(trained["datasets"]) == {"faces"}:
        print("note: this model has seen drawn faces only; what it says of photographs means nothing", file=sys.stderr)
    allowed = tuple(trained["emotions"]) if emotions is None else emotion_set(emotions)
    examples = [_example(file, question, allowed) for file in files]
    workers = num_workers if len(files) > batch_size else 0
    rows = _rows(policy, examples, batch_size, workers, Generation(max_tokens))
    text = _jsonl(rows) if out and out.endswith(".jsonl") else _csv(rows)
    if out:
        write_atomically(Path(out), text.encode())
    else:
        print(text, end="")
    return 2 if any(row["error"] for row in rows) else 0


def _files(images: list[str]) -> list[Path]:
    files: list[Path] = []
    for name in images:
        path = Path(name)
        if path.is_dir():
            files += sorted(file for file in path.iterdir() if file.suffix.lower() in _IMAGES)
        else:
            files.append(path)
    if not files:
        raise FEAError(f"no image in {', '.join(images)}")
    return files


def _example(file: Path, question: str, emotions: tuple[str, ...]) -> Example:
    """A face of which nothing is known."""
    name = str(file)
    return Example(name, "", name, name, question, None, frozenset(), (), emotions, None, {}, None, None, "{}")


def _rows(
    policy: Policy, examples: list[Example], batch_size: int, workers: int, generation: Generation
) -> list[dict[str, Any]]:
    """A row for each image, in their order. Images are read ahead, and answered with others of about their size."""
    sampler = EpochSampler(len(examples), shuffle=False)
    loader = Loader(examples, policy.encoder, sampler, _POOL * batch_size, workers, "skip", training=False)
    read: dict[str, Answer] = {}
    trunk = Trunk()
    with tqdm(total=len(examples), unit=" images", file=sys.stderr) as progress:
        for pool in loader:
            pool.sort(key=lambda prompt: len(prompt.ids))
            for start in range(0, len(pool), batch_size):
                batch = pool[start : start + batch_size]
                written = ask(policy, policy.look(batch), 1, generation, trunk=trunk).answers
                read |= {prompt.example.id: answer for prompt, answer in zip(batch, written, strict=True)}
                progress.update(len(batch))
        progress.update(sum(loader.skipped.values()))
    return [
        answer_row(name, read[name]) if name in read else _failed_row(name, loader.skipped)
        for name in (example.id for example in examples)
    ]


def answer_row(image: str, answer: Answer) -> dict[str, Any]:
    """One answer as a row of a table."""
    return {
        "image": image,
        "AUs": [f"AU{number}" for number in sorted(answer.aus)],
        "emotion": answer.emotion or "",
        "reasoning": (answer.think or "").strip(),
        "valid": answer.well_formed,
        "text": answer.text,
        "error": "",
    }


def _failed_row(image: str, skipped: Iterable[str]) -> dict[str, Any]:
    place = f"{image}: "
    reason = next(reason for reason in skipped if reason.startswith(place))
    error = reason.removeprefix(place).rpartition("; ")[0]  # the advice is for data files
    return dict.fromkeys(_COLUMNS, "") | {"image": image, "AUs": [], "valid": False, "error": error}


def _csv(rows: list[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "AUs": " ".join(row["AUs"])} for row in rows)
    return buffer.getvalue()


def _jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
