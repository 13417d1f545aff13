"""Weights of faces in the loss by how rare their labels are: by hand, and in a fit."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import fit
from torch import Tensor

from fea.data.mixture import Examples
from fea.data.table import open_jsonl
from fea.drawn.faces import EMOTIONS
from fea.records.record import Rules
from fea.rollouts.loader import RolloutCallback
from fea.rollouts.rarity import Rarity


def examples_of(folder: Path, faces_file: Path, labels: list[dict[str, Any]]) -> Examples:
    """Drawn faces with labels of our own."""
    records = [json.loads(line) for line in faces_file.read_text().splitlines()[: len(labels)]]
    lines = [
        json.dumps({name: record[name] for name in ("id", "dataset", "image")} | own)
        for record, own in zip(records, labels, strict=True)
    ]
    (folder / "own.jsonl").write_text("\n".join(lines))
    return Examples([open_jsonl(folder / "own.jsonl", faces_file.parent, Rules(EMOTIONS, "raise", True), "raise")])


def prompts_of(examples: Examples) -> list[Any]:
    return [SimpleNamespace(example=examples[number]) for number in range(len(examples))]


UNITS = [{"AUs": ["AU12"]}, {"AUs": ["AU12"]}, {"AUs": ["AU12", "AU4"]}, {"labels": ["sadness"]}]


@pytest.mark.parametrize(
    ("power", "drawn", "by_hand"),
    [
        (1.0, None, [3 / 4, 3 / 4, 3 / 2, 1.0]),
        # Of draws in proportions 1, 1, 4, 2 the mean is (1/3 + 1/3 + 8/3 + 8/9) / 8 = 19/36.
        (1.0, [1.0, 1.0, 4.0, 2.0], [12 / 19, 12 / 19, 24 / 19, 16 / 19]),
        (0.0, None, [1.0] * 4),
    ],
)
def test_weights_by_hand_have_a_mean_of_one_over_the_draws(
    tmp_path: Path, faces_file: Path, power: float, drawn: list[float] | None, by_hand: list[float]
) -> None:
    examples = examples_of(tmp_path, faces_file, UNITS)
    proportions = None if drawn is None else torch.tensor(drawn, dtype=torch.float64)
    found = Rarity(examples, proportions, "au", power)(prompts_of(examples))
    assert found.tolist() == pytest.approx(by_hand, abs=1e-6)
    assert np.average(found.numpy(), weights=drawn) == pytest.approx(1, abs=1e-6)
    mirrored = [SimpleNamespace(example=prompt.example.mirror()) for prompt in prompts_of(examples)]
    assert torch.equal(Rarity(examples, proportions, "au", power)(mirrored), found)  # type: ignore[arg-type]
    assert Rarity(examples, proportions, None, 1.0)(prompts_of(examples)).tolist() == [1.0] * 4


def test_each_emotion_weighs_as_much_as_every_other(faces_file: Path) -> None:
    examples = Examples([open_jsonl(faces_file, faces_file.parent, Rules(EMOTIONS, "raise", True), "raise")])
    found = Rarity(examples, None, "emotion", 1.0)(prompts_of(examples)).tolist()
    sums = dict[str, float]()
    for weight, prompt in zip(found, prompts_of(examples), strict=True):
        (label,) = prompt.example.labels
        sums[label] = sums.get(label, 0.0) + weight
    assert len(set(found)) > 1
    assert list(sums.values()) == pytest.approx([len(examples) / len(sums)] * len(sums), rel=1e-6)


class Weighed(RolloutCallback):
    """Keeps what the tokens of each face weigh together."""

    seen: ClassVar[dict[str, float]] = {}

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        sums: Tensor = batch.weights.sum(dim=1).view(len(batch.prompts), -1).sum(dim=1)
        for prompt, weight in zip(batch.prompts, sums.tolist(), strict=True):
            Weighed.seen[prompt.example.place] = weight


@pytest.mark.parametrize(("by", "power"), [("emotion", 1.0), ("au", 0.5)])
def test_a_fit_multiplies_the_weights_of_the_tokens(tmp_path: Path, by: Any, power: float) -> None:
    """Beside a balanced draw, of mirrored faces, in packs: the mean is 1 over the draws, not over a batch."""
    Weighed.seen = {}
    listed = '[{"class_path": "test_grpo.Vowels"}, {"class_path": "test_rarity.Weighed"}]'
    run = fit(
        "grpo", tmp_path / "run", trainer__callbacks=listed,
        trainer__max_steps=4, trainer__accumulate_grad_batches=2, data__mirror="true", data__train_faces=16,
        data__balance="null", data__balance_power=1.0,
        model__objective__balance=by, model__objective__balance_power=power,
    )  # fmt: skip
    (table,) = run.trainer.datamodule.tables["train"]
    examples = Examples([table])
    expected = examples.balance(by, power) / examples.balance(by, power).mean()
    by_place = dict(zip(examples.places(), expected.tolist(), strict=True))
    assert len(Weighed.seen) == 16
    for place, weight in Weighed.seen.items():
        assert weight == pytest.approx(by_place[place] / 4, rel=1e-5)  # of four faces a rollout
    assert sum(Weighed.seen.values()) == pytest.approx(4, rel=1e-5)  # of four rollouts: each face was drawn once
