"""Completions in parts, behind prompts that were read once: the gradients of the whole, to the last digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL
from PIL import Image
from torch import Tensor

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.model.config import LoRA
from fea.model.policy import Policy
from fea.model.reading import Leaves, Pass, parts_of

MakePolicy = Callable[..., Policy]
SIZES = {"tiny": replace(SMALL, spread=0.3), "min_pixels": 784, "max_pixels": 224 * 224}
# Four completions of each of two prompts; one has no tokens.
LENGTHS = [4, 1, 7, 2, 5, 0, 3, 6]
MASK = (torch.arange(7) < torch.tensor(LENGTHS)[:, None]).long()
IDS = torch.randint(1, 580, (8, 7), generator=torch.Generator().manual_seed(3)) * MASK
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "full with the vision tower": {"train_vision": True},
    "full, checkpointing": {"checkpointing": True},
    "lora": {"lora": LoRA(4, 8)},
    "lora, checkpointing": {"lora": LoRA(4, 8), "checkpointing": True},
}


@pytest.fixture
def uneven(make_policy: MakePolicy, examples: list[Example], tmp_path: Path) -> list[Prompt]:
    """Two prompts of different lengths, with images of different sizes."""
    encoder = make_policy(**SIZES).encoder
    Image.open(examples[1].image).resize((140, 196)).save(tmp_path / "tall.png")
    tall = examples[1]._replace(image=str(tmp_path / "tall.png"), question="Which emotion, and why?")
    return [encoder(examples[0]), encoder(tall)]


def stirred(policy: Policy) -> Policy:
    """Adapters start as a zero update; away from it both halves get a gradient."""
    torch.manual_seed(1)
    for name, parameter in policy.trainable().items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return policy.double()


def gradients(policy: Policy) -> dict[str, Tensor]:
    found = {name: weight.grad for name, weight in policy.trainable().items() if weight.grad is not None}
    policy.zero_grad()
    return found


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest of all weights, relative to the norm of what is expected."""
    assert found.keys() == expected.keys()
    return max(float((found[name] - expected[name]).norm() / expected[name].norm()) for name in expected)


def in_parts(policy: Policy, prompts: list[Prompt], weights_ND: Tensor, parts: int) -> list[Tensor]:
    """Backward passes through all parts and the prompts; returns the hidden states by part."""
    leaves, network, found = Leaves(policy.read(prompts)[1]), policy.network, []
    weights = iter(weights_of(weights_ND, len(prompts), parts))
    for ids, mask in zip(parts_of(IDS, len(prompts), parts), parts_of(MASK, len(prompts), parts), strict=True):
        assert leaves.read is not None
        hidden = Pass(network, policy.config.layout, prompts, ids, mask, apart=True).predicting([], leaves.read)
        leaves.learn((hidden * next(weights)).sum() * 3)
        found.append(hidden.detach())
    leaves.joined(torch.tensor(0.0, dtype=torch.float64), 3, policy.trainable().values()).mul(3).backward()
    return found


def weights_of(weights_ND: Tensor, prompts: int, parts: int) -> list[Tensor]:
    """Those of the tokens of each part."""
    room = torch.zeros(*MASK.shape, weights_ND.shape[1], dtype=weights_ND.dtype)
    room[MASK.bool()] = weights_ND
    split = zip(parts_of(room, prompts, parts), parts_of(MASK, prompts, parts), strict=True)
    return [rows[mask.bool()] for rows, mask in split]


@pytest.mark.parametrize("parts", [2, 3, 4])
@pytest.mark.parametrize("layout", ["tree", "group"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_parts_give_the_gradients_of_the_whole(
    make_policy: MakePolicy, uneven: list[Prompt], variant: str, layout: str, parts: int
) -> None:
    policy = stirred(make_policy(**SIZES, **VARIANTS[variant], layout=layout)).train()
    prompts = [prompt._replace(pixels=prompt.pixels.double()) for prompt in uneven]
    whole = Pass(policy.network, policy.config.layout, prompts, IDS, MASK)
    hidden = whole.predicting(policy.network.features(prompts))
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (hidden * weights).sum().mul(3).backward()
    expected = gradients(policy)
    found = in_parts(policy, prompts, weights, parts)
    for part, rows in zip(found, weights_of(hidden.detach(), 2, parts), strict=True):
        torch.testing.assert_close(part, rows, rtol=0, atol=1e-10)
    assert len(expected) > 10
    assert distance(gradients(policy), expected) < 1e-10
