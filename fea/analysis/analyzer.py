"""Faces in, answers out: image files are read ahead and answered with others of about their size."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fea.analysis.tables import _failed_row, answer_row
from fea.data.example import Example
from fea.data.loader import EpochSampler, Loader
from fea.errors import FEAError
from fea.model.cache import Trunk
from fea.model.policy import Policy
from fea.model.sampling import Generation
from fea.prompts.answer import Answer
from fea.rollouts.rollout import ask

_POOL = 8  # batches that are read ahead and sorted


_IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


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
