"""`fea synthesize`: analyses for faces that have labels and none, by a trained run."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.fabric.utilities import move_data_to_device
from tqdm import tqdm

from fea import checkpoints
from fea.analyze import Device, load_policy
from fea.data.example import Example
from fea.data.images import common_root
from fea.data.loader import EpochSampler, Examples, Loader
from fea.data.module import emotion_set
from fea.data.record import Rules
from fea.data.table import open_jsonl
from fea.errors import FEAError
from fea.journal import Journal
from fea.policy import Policy
from fea.sampling import Generation
from fea.synthesis import Recipe, attempted


def synthesize(
    data: list[str],
    *,
    model: str,
    out: str,
    image_root: str | None = None,
    emotions: str | list[str] | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008 (read, never changed)
    max_tokens: int = 256,
    temperature: float = 1.0,
    batch_size: int = 16,
    num_workers: int = 2,
    device: Device = "auto",
) -> int:
    """Writes analyses for faces that have labels and no analysis; those that pass the triple check are kept.

    A run that was stopped goes on where it was. Beside the file stand FILE.tried, with a line for every face, and a card with
    the yields.

    Args:
        data: JSONL files with labels.
        model: run (folder or checkpoint) that writes.
        out: JSONL file for the accepted analyses.
        image_root: folder of the images; by default that of each file.
        emotions: allowed emotions; by default those the model was trained with.
        recipe: how analyses are made, and what they have to pass.
        max_tokens: length limit of an analysis.
        temperature: of sampling.
        batch_size: faces at a time.
        num_workers: processes that read images ahead.
        device: "cpu", "cuda" or "auto".

    Returns:
        0.

    Raises:
        FEAError: a file or the run cannot be read, no face is left to write about, or `out` holds something else.
    """
    policy, trained = load_policy(model, device)
    allowed = tuple(trained["emotions"]) if emotions is None else emotion_set(emotions)
    examples = _without_analysis([Path(file) for file in data], image_root, allowed)
    weights = _fingerprint(checkpoints.find(model))
    settings = {
        "model": weights, "faces": len(examples), "batch_size": batch_size, "max_tokens": max_tokens,
        "temperature": temperature, **asdict(recipe),
    }  # fmt: skip
    journal = Journal(Path(out), settings)
    root = common_root([example.image for example in examples], Path(out).parent)
    _write(
        policy, examples, journal, root, recipe, Generation(max_tokens, temperature), batch_size, num_workers, weights
    )
    print(journal.card())
    if root != Path(out).parent.resolve():
        print(f"the images are relative to '{root}': name it as image_root of '{out}'")
    return 0


def _write(
    policy: Policy,
    examples: list[Example],
    journal: Journal,
    image_root: Path,
    recipe: Recipe,
    generation: Generation,
    batch_size: int,
    workers: int,
    weights: str,
) -> None:
    sampler = EpochSampler(len(examples), shuffle=False)
    loader = Loader(examples, policy.encoder, sampler, batch_size, workers, "raise", training=False)
    loader.load_state_dict({"position": journal.batches})
    provenance: dict[str, Any] = {"round": 0, "seed": recipe.seed, "model": weights}
    left = len(examples) - journal.batches * batch_size
    with tqdm(total=max(0, left), unit=" faces", file=sys.stderr) as progress:
        for prompts in loader:
            placed = policy.look(move_data_to_device(prompts, policy.forbidden.device))
            outcomes = attempted(policy, placed, generation, recipe, round=0)
            journal.add(outcomes, image_root, provenance)
            progress.update(len(outcomes))


def _without_analysis(files: list[Path], image_root: str | None, emotions: tuple[str, ...]) -> list[Example]:
    """Faces with labels and no analysis."""
    tables = [
        open_jsonl(
            file, file.parent if image_root is None else Path(image_root), Rules(emotions, "raise", True), "raise"
        )
        for file in files
    ]
    every = Examples(tables)
    found = [
        example
        for example in (every[number] for number in range(len(every)))
        if example.analysis is None and (example.coded or example.labels)
    ]
    if not found:
        raise FEAError(f"no face in {', '.join(map(str, files))} has labels and no analysis (key 'description')")
    return found


def _fingerprint(checkpoint: Path) -> str:
    """The first half of the SHA-256 of a file."""
    with checkpoint.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]
