"""bf16 and 4 bits: how far layouts are from rows, beside how far rows are from themselves with another batch size.

pytest -m benchmark tests/benchmarks/test_low_precision.py -s

In low precision every change of shape rounds differently. Sixteen layers, so that roundings have room to grow;
autocast, as in a fit.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from grpo_case import FACE
from torch import Tensor

from fea.config import LoRA, PolicyConfig
from fea.data.encoding import Prompt
from fea.data.faces import EMOTIONS, write_faces
from fea.data.record import Rules
from fea.data.table import open_jsonl
from fea.layout import LayoutName
from fea.policy import Policy
from fea.tiny import TinySize

pytestmark = pytest.mark.benchmark

SIZE = TinySize(hidden=256, layers=16, heads=8)
LENGTHS = torch.tensor([70, 20, 10, 50, 50, 50, 30, 33, 60, 15, 12, 44])  # three completions of each of four prompts
MASK = (torch.arange(int(LENGTHS.max())) < LENGTHS[:, None]).long()
IDS = torch.randint(1, 580, MASK.shape, generator=torch.Generator().manual_seed(3)) * MASK
DIRECTION = torch.randn(MASK.shape, generator=torch.Generator().manual_seed(4))

Result = tuple[Tensor, dict[str, Tensor]]


def policy_and_prompts(folder: Path, four_bit: bool) -> tuple[Policy, list[Prompt]]:
    """An adapter away from zero on a base in low precision, and prompts of four lengths."""
    shown = {"min_pixels": FACE * FACE, "max_pixels": FACE * FACE}
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


def gap(one: Result, other: Result) -> Tensor:
    """Mean difference of log-probabilities in nats, and mean relative distance of gradients."""
    gradients = [(one[1][name] - grad).norm() / grad.norm() for name, grad in other[1].items()]
    return torch.stack([(one[0] - other[0])[MASK.bool()].abs().mean(), torch.stack(gradients).mean()])


@pytest.mark.parametrize("four_bit", [False, True], ids=["bf16", "4 bits"])
def test_low_precision(tmp_path: Path, four_bit: bool) -> None:
    policy, prompts = policy_and_prompts(tmp_path, four_bit)
    each = [prompts[row // 3] for row in range(12)]
    rows = []
    for size in range(1, 13):
        parts = [list(range(first, min(first + size, 12))) for first in range(0, 12, size)]
        rows.append(run(policy, "rows", [([each[row] for row in part], part) for part in parts]))
    noise = torch.stack([gap(one, other) for one, other in itertools.combinations(rows, 2)])
    print(f"\n| {'4 bits' if four_bit else 'bf16'} | log-probabilities, nats | gradients, relative |\n|---|---|---|")
    print(f"| rows against rows, median and most | {told(noise)} |")
    whole = [(prompts, list(range(12)))]
    for layout in ("group", "tree"):
        found = run(policy, layout, whole)  # type: ignore[arg-type]
        print(f"| {layout} against rows | {told(torch.stack([gap(found, row) for row in rows]))} |")


def told(gaps: Tensor) -> str:
    """Median and largest of each column."""
    columns = zip(gaps.median(dim=0).values.tolist(), gaps.max(dim=0).values.tolist(), strict=True)
    return " | ".join(f"{median:.1e}, {most:.1e}" for median, most in columns)
