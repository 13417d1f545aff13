"""Samples come from the policy that is trained, also where attention scores have an offset as large as those of real weights.

pytest -m gpu tests/gpu/test_gap.py    (6 minutes on a card; not run on a GPU yet)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from score_offsets import trained_less_sampled

from fea.data.example import Example
from fea.model.config import LayoutName
from fea.model.policy import Policy

from .bases import Bases
from .checks import BITS, OFFSETS
from .setting import SIZES

pytestmark = pytest.mark.gpu

LAYOUTS: tuple[LayoutName, ...] = ("tree", "group", "rows")


@pytest.fixture(scope="module", params=OFFSETS)
def base(request: pytest.FixtureRequest, bases: Bases) -> Iterator[tuple[int, Path]]:
    """A model whose scores have an offset; there is room for one at a time."""
    yield request.param, bases.of("3B", request.param)
    bases.remove("3B", request.param)


@pytest.mark.parametrize("bits", BITS)
def test_samples_come_from_the_policy_that_is_trained(
    bits: str,
    base: tuple[int, Path],
    build: Callable[..., Policy],
    examples: list[Example],
    figures: Callable[..., None],
) -> None:
    offset, folder = base
    told, largest, extremes = [], 0.0, [1.0]
    for layout in LAYOUTS:
        policy = build(bits, folder, layout)
        prompts = [
            policy.encoder(example) for example in examples[: SIZES.prompts // 2]
        ]  # in rows each has its own prompt
        apart = trained_less_sampled(policy, prompts, SIZES.group, SIZES.tokens // 4)
        del policy
        mean, ratios = float(apart.abs().mean()), apart.exp()
        largest, extremes = max(largest, mean), [*extremes, float(ratios.min()), float(ratios.max())]
        told.append(f"{layout} {mean:.4f} ({extremes[-2]:.2f} to {extremes[-1]:.2f})")
    holds = largest < 0.01 and min(extremes) > 0.9 and max(extremes) < 1.1
    figures(f"gap, {bits}, offset {offset}", ", ".join(told), holds)
