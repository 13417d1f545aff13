"""What published weights are like and random ones are not: attention scores with a large common offset, a stirred adapter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fea.data.prompt import Prompt
from fea.model.policy import Policy
from fea.model.sampling import Generation, noise

_SLOW = 4  # channels that rotate least: no position changes what they add to a score


@torch.no_grad()
def offset_scores(language_model: Any, offset: float) -> None:
    """Gives all attention scores a common offset, by the biases of queries and keys, and more spread."""
    for layer in language_model.layers:
        width = layer.self_attn.head_dim
        for part in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            part.weight.mul_(3)
            slow = part.bias.view(-1, width)[:, width // 2 - _SLOW : width // 2]
            slow.fill_((offset * width**0.5 / _SLOW) ** 0.5)


def turn_slowly(base: Path) -> None:
    """Rotates as published models do; the tiny model turns faster."""
    config = base / "config.json"
    told = json.loads(config.read_text())
    told["text_config"]["rope_parameters"]["rope_theta"] = 1e6
    config.write_text(json.dumps(told))


def stir_adapter(policy: Policy) -> None:
    """Makes an adapter that changes something: a new one adds zero."""
    torch.manual_seed(1)
    for name, weight in policy.trainable().items():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)


def trained_less_sampled(policy: Policy, prompts: Sequence[Prompt], group: int, tokens: int) -> Tensor:
    """Log-probabilities of sampled tokens: those of training less those of sampling, in nats, one after the other."""
    chance = noise([prompt.example.id for prompt in prompts], group, tokens, 0, 0)
    with torch.autocast(policy.network.device.type, torch.bfloat16):
        prompts = policy.look(prompts)
        found = policy.eval().rollout(prompts, group, Generation(tokens), chance)
        with torch.no_grad():
            trained = policy.train().logps(prompts, found.ids, found.mask)[0]
    written = found.mask.bool()
    assert found.logps[written].std() > 0.3  # there is something to get wrong
    return (trained - found.logps)[written]
