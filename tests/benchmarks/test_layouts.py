"""Rows against group against tree: the update's forward and backward pass, and how near it comes to plain matrix products.

pytest -n 0 -m benchmark tests/benchmarks/test_layouts.py -s

All layouts run in turn in one process, so that a machine whose speed wanders is fair to them. `of matmul` is the time that the
matrix products of the linear layers alone take at the same shapes, as a share of the whole update: what is missing to 100 % is
attention, norms, rotary positions, activation functions, softmax and copying.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from grpo_case import FACE, SIZES

from fea.data.table import open_jsonl
from fea.drawn.faces import EMOTIONS, write_faces
from fea.model.config import LayoutName, PolicyConfig
from fea.model.layout import lay_out
from fea.model.policy import Policy
from fea.records.record import Rules

RUNS = 5
LAYOUTS: tuple[LayoutName, ...] = ("rows", "group", "tree")

pytestmark = pytest.mark.benchmark


@dataclass(frozen=True)
class Pack:
    """Groups of a pack, tokens of the prompt and of each completion, completions of a group."""

    groups: int = 1
    prompt: int = 1000
    completion: int = 128
    group: int = 8

    def __str__(self) -> str:
        return f"B{self.groups}-P{self.prompt}-C{self.completion}-G{self.group}"


PACKS = [Pack(), Pack(prompt=500), Pack(completion=64), Pack(group=4), Pack(groups=4), Pack(groups=8, group=1)]


def timed(work: Callable[[], Any]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def products(policy: Policy, tokens: int, scored: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs and weights of the linear layers: every token in the decoder, every scored one in the head."""
    linears = [module for module in policy.network.language_model.modules() if isinstance(module, torch.nn.Linear)]
    inputs = {width: torch.randn(tokens, width) for width in {layer.in_features for layer in linears}}
    pairs = [(inputs[layer.in_features], layer.weight.detach()) for layer in linears]
    return [*pairs, (torch.randn(scored, policy.network.width), policy.model.lm_head.weight.detach())]


def multiply(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """The three products of each: forward, gradient of the input, gradient of the weight."""
    for inputs, weight in pairs:
        output = inputs @ weight.T
        output @ weight
        output.T @ inputs


@pytest.mark.parametrize("pack", PACKS, ids=str)
def test_update(pack: Pack, tmp_path: Path) -> None:
    config = PolicyConfig(tiny=SIZES["9M"], min_pixels=FACE * FACE, max_pixels=FACE * FACE, knowledge="brief")
    policy = Policy(config, {}).train()
    file = write_faces(tmp_path, pack.groups, size=FACE)
    table = open_jsonl(file, tmp_path, Rules(EMOTIONS, "raise", False), "raise")
    examples = [table[number] for number in range(pack.groups)]
    prompts = policy.look([policy.encoder(example) for example in examples])
    # The knowledge that all prompts share, before the image, makes up the length.
    missing = pack.prompt - len(prompts[0].ids)
    prompts = [
        prompt._replace(
            ids=torch.cat([torch.full((missing,), 300), prompt.ids]),
            positions=torch.cat([torch.arange(missing).expand(3, -1), prompt.positions + missing], dim=1),
        )
        for prompt in prompts
    ]
    ids = torch.randint(300, 580, (pack.groups * pack.group, pack.completion))
    mask = torch.ones_like(ids)

    def update(layout: LayoutName) -> None:
        policy.config = replace(policy.config, layout=layout)
        policy.zero_grad()
        policy.logps(prompts, ids, mask)[0].mean().backward()

    tokens = {name: lay_out(name, prompts, ids, mask, policy.network.image_token).ids.numel() for name in LAYOUTS}
    pairs = {name: products(policy, tokens[name], ids.numel()) for name in LAYOUTS}
    seconds: dict[str, list[float]] = {name: [] for name in LAYOUTS}
    plain: dict[str, list[float]] = {name: [] for name in LAYOUTS}
    for name in LAYOUTS:
        update(name)  # to warm up
    for _ in range(RUNS):
        for name in LAYOUTS:
            seconds[name].append(timed(lambda name=name: update(name)))  # type: ignore[misc]
            plain[name].append(timed(lambda name=name: multiply(pairs[name])))  # type: ignore[misc]
    print(f"\n\n{pack}\n\n| layout | tokens | token ratio | seconds | speed-up | GFLOP/s | of matmul |")
    print("|---|---|---|---|---|---|---|")
    for name in LAYOUTS:
        operations = sum(6 * len(x) * w.numel() for x, w in pairs[name])
        took = median(seconds[name])
        print(
            f"| {name} | {tokens[name]} | {tokens['rows'] / tokens[name]:.2f} | {took:.3f} | "
            f"{median(seconds['rows']) / took:.2f} | {operations / took / 1e9:.0f} | {median(plain[name]) / took:.0%} |"
        )
