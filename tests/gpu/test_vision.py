"""The vision tower, and the layer that takes patches in as the convolution that it is and as a product.

pytest -m gpu tests/gpu/test_vision.py    (2 minutes on a card; not run on a GPU yet)
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric.utilities import move_data_to_device

from fea.data.example import Example
from fea.model.policy import Policy

from .setting import DEVICE, SIZES, autocast, milliseconds

pytestmark = pytest.mark.gpu


def test_the_tower(build: Callable[..., Policy], examples: list[Example], figures: Callable[..., None]) -> None:
    policy = build("bf16")
    prompts = [policy.encoder(example) for example in examples[: SIZES.prompts]]
    prompts = move_data_to_device(prompts, DEVICE)
    with torch.no_grad(), autocast():
        took = milliseconds(lambda: policy.network.features(prompts))
        tokens = len(policy.network.features(prompts)[0].tokens)
    figures("vision tower, 8 faces", f"{took:.1f} ms, {len(prompts)} faces of {tokens} visual tokens")


def test_patches(build: Callable[..., Policy], examples: list[Example], figures: Callable[..., None]) -> None:
    policy = build("bf16")
    pixels = torch.cat([policy.encoder(example).pixels for example in examples[: SIZES.prompts]]).to(
        DEVICE, torch.bfloat16
    )
    kernel = (2, policy.network.family.patch, policy.network.family.patch)  # two frames
    width = policy.network.vision_tower.config.hidden_size
    conv = torch.nn.Conv3d(3, width, kernel, kernel, bias=False, device=DEVICE, dtype=torch.bfloat16)
    with torch.no_grad():
        shaped = pixels.view(-1, 3, *kernel)
        apart = (conv(shaped).flatten(1) - F.linear(pixels, conv.weight.flatten(1))).abs().max()
        convolved = milliseconds(lambda: conv(shaped))
        multiplied = milliseconds(lambda: F.linear(pixels, conv.weight.flatten(1)))
    assert apart < 0.1  # the same, but for rounding
    figures("patches by Conv3d and by a product", f"{convolved:.2f} ms and {multiplied:.2f} ms")
