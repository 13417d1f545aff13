"""bf16 and 4 bits: what is sampled comes from the policy that is trained, whatever the biases of queries and keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import small_config
from score_offsets import offset_scores, stir_adapter, trained_less_sampled, turn_slowly

from fea.data.example import Example
from fea.model.config import LayoutName, LoRA, TinySize
from fea.model.policy import Policy

HEADS, HIDDEN = 4, 256
SIZE = TinySize(hidden=HIDDEN, layers=3, heads=HEADS, spread=0.03)
OFFSETS = (0, 100, 300, 1000)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models whose attention scores all have a common offset, as those of published ones do; one a folder of its number."""
    folder = tmp_path_factory.mktemp("bases")
    for offset in OFFSETS:
        policy = Policy(small_config(tiny=SIZE), {})
        offset_scores(policy.network.language_model, offset)
        policy.save(folder / str(offset))
        turn_slowly(folder / str(offset))
    return folder


def adapted(base: Path, four_bit: bool, layout: LayoutName) -> Policy:
    config = small_config(
        base=str(base), lora=LoRA(8, 16), dtype="bfloat16", four_bit=four_bit, layout=layout, knowledge="full"
    )
    policy = Policy(config, {}).eval()
    stir_adapter(policy)
    return policy


@pytest.mark.parametrize("four_bit", [False, True], ids=["bf16", "4 bits"])
@pytest.mark.parametrize("offset", OFFSETS)
def test_samples_come_from_the_policy_that_is_trained(
    bases: Path, examples: list[Example], offset: int, four_bit: bool
) -> None:
    """Rounding the scores to bf16 would make a gap of 0.05 at an offset of 300, and ratios from 0.7 to 1.3."""
    layouts: tuple[LayoutName, ...] = ("tree", "group", "rows") if offset == 300 else ("tree",)
    for layout in layouts:
        policy = adapted(bases / str(offset), four_bit, layout)
        apart = trained_less_sampled(policy, [policy.encoder(example) for example in examples[:3]], 4, 32)
        assert apart.abs().mean() < 0.01
        assert float(apart.exp().min()) > 0.9
        assert float(apart.exp().max()) < 1.1
