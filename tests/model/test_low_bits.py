"""bf16 and 4 bits: what is sampled comes from the policy that is trained, whatever the biases of queries and keys."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import small_config
from score_offsets import offset_scores, stir_adapter, trained_less_sampled, turn_slowly
from torch import Tensor

from fea.data.example import Example
from fea.logprobs import logits, product
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


# --- logits and scores ---


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16])
def test_logits_have_more_bits_than_their_factors(kept: torch.dtype) -> None:
    hidden, head = (
        (random(40, 64) * 4).to(kept),
        random(9000, 64, seed=1).to(kept),
    )  # more words than are copied at a time
    with torch.autocast("cpu", torch.bfloat16):
        found = logits(hidden, head)
    exact = hidden.bfloat16().double() @ head.bfloat16().double().T
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-4)
    assert (exact - exact.bfloat16()).abs().max() > 0.1  # what rounding them would cost


def test_logits_of_fp32_are_a_plain_product() -> None:
    hidden, head = random(5, 8), random(20, 8, seed=1)
    assert torch.equal(logits(hidden, head), torch.nn.functional.linear(hidden, head))


@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16])
def test_logits_have_the_gradient_of_a_product(kept: torch.dtype) -> None:
    hidden, head = random(6, 16).bfloat16(), random(50, 16, seed=1).bfloat16()
    weights = random(6, 50, seed=2)

    def gradients(low: bool) -> tuple[Tensor, ...]:
        leaves = [part.to(kept if low else torch.float64).requires_grad_() for part in (hidden, head)]
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            found = logits(*leaves)
        return torch.autograd.grad((found * weights.to(found.dtype)).sum(), leaves)

    for found, expected in zip(gradients(True), gradients(False), strict=True):
        assert found.dtype == kept
        # Of 50 terms, each rounded to 8 bits.
        torch.testing.assert_close(found.double(), expected, rtol=0.02, atol=0.15)


def test_a_gradient_that_nobody_asks_for_is_not_computed() -> None:
    hidden, head = random(3, 8).bfloat16().requires_grad_(), random(20, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        logits(hidden, head).sum().backward()
    assert hidden.grad is not None
    assert head.grad is None


@pytest.mark.parametrize("autocast", [False, True])
def test_products_are_exact_in_autocast_too(autocast: bool) -> None:
    one, other = (random(2, 3, 64, seed=seed).bfloat16() * 16 for seed in (0, 1))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = product(one, other.mT)
    torch.testing.assert_close(found.double(), one.double() @ other.double().mT, rtol=0, atol=1e-2)
