"""Log-probabilities, logits and products: exact whatever the factors are kept in, and the same in chunks."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fea import logprobs
from fea.logprobs import exact_product, log_distribution, logits, token_logps

# --- in chunks ---


@pytest.mark.parametrize("chunk", [1, 4, 7, 512])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_chunked_head_equals_the_naive_one(chunk: int, temperature: float) -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(7, 8), torch.randn(20, 8)
    targets, forbidden, weights = torch.tensor([0, 3, 19, 5, 5, 11, 2]), torch.tensor([1, 18]), torch.randn(7)

    def results(function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
        h, w = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        logps, entropies = function(h, w)
        return logps, entropies, *torch.autograd.grad((logps * weights).sum(), (h, w))

    def naive(h: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        kept = torch.tensor([token not in (1, 18) for token in range(20)])
        log_p = (h @ w.T / temperature)[:, kept].log_softmax(-1)
        columns = torch.tensor([sum(kept[:t]) for t in targets.tolist()])
        return log_p[torch.arange(7), columns], torch.distributions.Categorical(logits=log_p).entropy()

    chunked = results(lambda h, w: token_logps(h, w, targets, forbidden, temperature, chunk))
    for found, expected in zip(chunked, results(naive), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)
    assert not chunked[1].requires_grad


@pytest.mark.parametrize("chunk", [2, 512])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_gradient_of_the_entropy_is_the_one_of_plain_python(chunk: int, temperature: float) -> None:
    """dH / dz_v = -p_v (log p_v + H) / temperature for each logit; words that are never sampled have none."""
    torch.manual_seed(0)
    hidden, head = torch.randn(5, 4), torch.randn(9, 4)
    forbidden, weights = torch.tensor([1, 7]), [0.3, -1.2, 0.5, 1.0, -0.2]
    leaves = hidden.clone().requires_grad_(), head.clone().requires_grad_()
    _, entropies = token_logps(
        *leaves, torch.zeros(5, dtype=torch.long), forbidden, temperature, chunk, entropy_gradient=True
    )
    of_hidden, of_head = torch.autograd.grad((entropies * torch.tensor(weights)).sum(), leaves)
    expected_hidden, expected_head = torch.zeros(5, 4), torch.zeros(9, 4)
    for n in range(5):
        scores = (head[[0, 2, 3, 4, 5, 6, 8]] @ hidden[n] / temperature).tolist()
        logits = dict(zip((0, 2, 3, 4, 5, 6, 8), scores, strict=True))
        whole = sum(math.exp(z) for z in logits.values())
        log_p = {v: z - math.log(whole) for v, z in logits.items()}
        entropy = -sum(math.exp(value) * value for value in log_p.values())
        assert entropies[n].item() == pytest.approx(entropy, abs=1e-6)
        for v, value in log_p.items():
            slope = -weights[n] * math.exp(value) * (value + entropy) / temperature
            expected_hidden[n] += slope * head[v]
            expected_head[v] += slope * hidden[n]
    torch.testing.assert_close(of_hidden, expected_hidden, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(of_head, expected_head, rtol=1e-5, atol=1e-5)


def test_an_entropy_that_weighs_much_has_a_finite_gradient_beside_words_that_are_never_sampled() -> None:
    hidden = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    head, targets = torch.eye(6, 4), torch.zeros(3, dtype=torch.long)
    _, entropies = token_logps(hidden, head, targets, torch.tensor([2, 5]), entropy_gradient=True)
    (1e6 * entropies).sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()
    assert hidden.grad.abs().max() > 1


def test_without_a_bonus_the_backward_pass_keeps_nothing_for_the_entropy() -> None:
    hidden, head, targets = torch.randn(8, 4).requires_grad_(), torch.randn(500, 4), torch.zeros(8, dtype=torch.long)

    def kept(entropy_gradient: bool) -> int:
        """Tensors of the size of the logits that a chunk holds while it is computed again."""
        places = set[int]()

        def keep(tensor: Tensor) -> Tensor:
            if tensor.numel() == 8 * 500:
                places.add(tensor.data_ptr())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            found = logprobs._chunk_logps(hidden, head, targets, None, 1.0, entropy_gradient)
        assert found[1].requires_grad == entropy_gradient
        return len(places)

    assert [kept(False), kept(True)] == [1, 2]


def test_the_softmax_runs_in_float32() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = log_distribution(logits, None, 1.0)
    torch.testing.assert_close(found, logits.double().log_softmax(-1).float(), rtol=0, atol=1e-6)


def test_no_positions_give_no_log_probabilities() -> None:
    logps, entropies = token_logps(torch.zeros(0, 8), torch.zeros(20, 8), torch.zeros(0, dtype=torch.long))
    assert logps.shape == entropies.shape == (0,)


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
            found = logits(*leaves) if low else torch.nn.functional.linear(*leaves)
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


@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("autocast", [False, True])
def test_products_are_exact_in_autocast_too(kept: torch.dtype, autocast: bool) -> None:
    one, other = (random(2, 3, 64, seed=seed).to(kept) * 16 for seed in (0, 1))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = exact_product(one)(one, other.mT)
    torch.testing.assert_close(found.double(), one.double() @ other.double().mT, rtol=0, atol=1e-2)
