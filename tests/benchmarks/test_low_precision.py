"""bf16 and 4 bits: how far layouts are from rows, beside how far rows are from themselves with another batch size.

pytest -n 0 -m benchmark tests/benchmarks/test_low_precision.py -s

In low precision every change of shape rounds some numbers differently, and a single one of them moves all that follows it.
Sixteen layers, so that roundings have room to grow; autocast, as in a fit; completions shuffled for each batch size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from grpo_case import FACE
from torch import Tensor

from fea.data.prompt import Prompt
from fea.data.table import open_jsonl
from fea.drawn.faces import EMOTIONS, write_faces
from fea.model.config import LayoutName, LoRA, PolicyConfig, TinySize
from fea.model.policy import Policy
from fea.records.record import Rules

pytestmark = pytest.mark.benchmark

SIZE = TinySize(hidden=256, layers=16, heads=8)
LENGTHS = torch.tensor([70, 20, 10, 50, 50, 50, 30, 33, 60, 15, 12, 44])  # three completions of each of four prompts
MASK = (torch.arange(int(LENGTHS.max())) < LENGTHS[:, None]).long()
IDS = torch.randint(1, 580, MASK.shape, generator=torch.Generator().manual_seed(3)) * MASK
DIRECTION = torch.randn(MASK.shape, generator=torch.Generator().manual_seed(4))

SHARED: tuple[LayoutName, ...] = ("group", "tree")

Result = tuple[Tensor, dict[str, Tensor]]


def policy_and_prompts(folder: Path, four_bit: bool) -> tuple[Policy, list[Prompt]]:
    """An adapter away from zero on a base in low precision, and prompts of four lengths."""
    shown = {"min_pixels": FACE * FACE, "max_pixels": FACE * FACE}
    torch.manual_seed(0)
    Policy(PolicyConfig(tiny=SIZE, **shown), {}).save(folder / "base")
    config = PolicyConfig(
        base=str(folder / "base"), lora=LoRA(4, 8), dtype="bfloat16", four_bit=four_bit, knowledge="full", **shown
    )
    policy = Policy(config, {})
    torch.manual_seed(1)
    for name, weight in policy.trainable().items():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    table = open_jsonl(write_faces(folder, 4, 5, "none"), folder, Rules(EMOTIONS, "raise", True), "raise")
    return policy, [policy.encoder(table[n]._replace(question="Why? " * n)) for n in range(4)]


def run(policy: Policy, layout: LayoutName, batches: list[tuple[list[Prompt], list[int]]]) -> Result:
    """Log-probabilities and gradients, batch after batch."""
    policy.config.layout = layout
    policy.zero_grad()
    logps = torch.zeros(MASK.shape)
    for prompts, rows in batches:
        with torch.autocast("cpu", torch.bfloat16):
            found = policy.logps(prompts, IDS[rows], MASK[rows])[0]
        (found * DIRECTION[rows]).sum().backward()
        logps[rows] = found.detach()
    return logps, {name: weight.grad.clone() for name, weight in policy.trainable().items() if weight.grad is not None}


def gap(one: Result, other: Result) -> tuple[Tensor, Tensor]:
    """Mean difference of each completion's log-probabilities in nats, and relative distance of each gradient."""
    logps = ((one[0] - other[0]).abs() * MASK).sum(dim=1) / LENGTHS
    return logps, torch.stack([(one[1][name] - grad).norm() / grad.norm() for name, grad in other[1].items()])


def told(pairs: Iterable[tuple[Result, Result]]) -> str:
    """The largest gap between any pair, by completion and by gradient: mean and largest of these."""
    logps, gradients = (torch.stack(gaps).amax(dim=0) for gaps in zip(*itertools.starmap(gap, pairs), strict=True))
    return " | ".join(f"{part.mean():.2e}, {part.max():.2e}" for part in (logps, gradients))


@pytest.mark.parametrize("four_bit", [False, True], ids=["bf16", "4 bits"])
def test_low_precision(tmp_path: Path, four_bit: bool) -> None:
    policy, prompts = policy_and_prompts(tmp_path, four_bit)
    rows, shuffle = [], torch.Generator().manual_seed(5)
    for size in range(1, 13):
        parts = [part.tolist() for part in torch.randperm(12, generator=shuffle).split(size)]
        rows.append(run(policy, "rows", [([prompts[row // 3] for row in part], part) for part in parts]))
    layouts = {layout: run(policy, layout, [(prompts, list(range(12)))]) for layout in SHARED}
    print(f"\n| {'4 bits' if four_bit else 'bf16'} | log-probabilities, nats | gradients, relative |\n|---|---|---|")
    print(f"| rows against rows | {told(itertools.combinations(rows, 2))} |")
    for layout, found in layouts.items():
        print(f"| {layout} against rows | {told((found, row) for row in rows)} |")
