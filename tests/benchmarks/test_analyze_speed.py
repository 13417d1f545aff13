"""`fea analyze` of 500 drawn faces against a loop of transformers' `generate`, one face at a time.

FEA_RUN=runs/demo pytest -n 0 -m benchmark tests/benchmarks/test_analyze_speed.py -s

The run is that of `fea demo`. Both sides decode greedily; the answers have to be the same.
"""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path

import pytest
import torch

from fea.commands.analyze import analyze
from fea.data.example import Example
from fea.drawn.faces import EMOTIONS, write_faces
from fea.model.checkpoints import load_policy

FACES, TOKENS = 500, 112

pytestmark = pytest.mark.benchmark


def one_by_one(run: str, files: list[Path]) -> list[str]:
    """The plain loop, image by image."""
    policy, _ = load_policy(run)
    texts = []
    for file in files:
        name = str(file)
        example = Example(name, "", name, name, "", None, frozenset(), (), EMOTIONS, None, {}, None, None, "{}")
        prompt = policy.encoder(example)
        ids = prompt.ids[None]
        with torch.no_grad():
            output = policy.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                mm_token_type_ids=(ids == policy.network.image_token).int(),
                pixel_values=prompt.pixels,
                image_grid_thw=prompt.grid[None],
                do_sample=False,
                max_new_tokens=TOKENS,
                suppress_tokens=policy.network.forbidden.tolist(),
                eos_token_id=policy.network.ends,
                pad_token_id=0,
            )
        texts.append(policy.network.decode(output[0, len(prompt.ids) :]))
    return texts


def test_analyze(tmp_path: Path) -> None:
    run = os.environ["FEA_RUN"]
    write_faces(tmp_path, FACES, seed=77)
    files = sorted((tmp_path / "images").iterdir())
    start = time.perf_counter()
    assert analyze([str(tmp_path / "images")], model=run, out=str(tmp_path / "a.csv"), max_tokens=TOKENS) == 0
    ours = time.perf_counter() - start
    start = time.perf_counter()
    expected = one_by_one(run, files)
    plain = time.perf_counter() - start
    with (tmp_path / "a.csv").open(newline="") as file:
        said = [row["text"] for row in csv.DictReader(file)]
    same = sum(a == b for a, b in zip(said, expected, strict=True))
    print(
        f"\n| | seconds | images a second |\n|---|---|---|\n| `generate`, one by one | {plain:.1f} | {FACES / plain:.1f} |"
    )
    print(f"| `fea analyze` | {ours:.1f} | {FACES / ours:.1f} |")
    print(f"\n{plain / ours:.1f} times as fast; {same} of {FACES} answers the same")
    assert same == FACES
