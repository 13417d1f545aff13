"""Which kernels take the shapes that attention makes, and how exact and how fast products in fp32 of factors in bf16 are.

pytest -m gpu tests/gpu/test_kernels.py    (2 minutes on a card; not run on a GPU yet)

Branches of `fea.logprobs` for a card run here for the first time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fea.logprobs import exact_product, logits
from fea.model import attention
from fea.model.attention import TreeAttention
from fea.model.layout import Tree

from .setting import CARD, DEVICE, SIZES, autocast, milliseconds

pytestmark = pytest.mark.gpu

Figures = Callable[..., None]
KERNELS = {
    "FLASH": SDPBackend.FLASH_ATTENTION, "EFFICIENT": SDPBackend.EFFICIENT_ATTENTION, "CUDNN": SDPBackend.CUDNN_ATTENTION,
    "MATH": SDPBackend.MATH,
}  # fmt: skip
TEXT = SIZES.models["3B"].text
HEADS, KV_HEADS, WIDTH = TEXT["num_attention_heads"], TEXT["num_key_value_heads"], TEXT["hidden_size"]
HEAD = WIDTH // HEADS


def random(*shape: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator(DEVICE).manual_seed(seed), device=DEVICE)
    return (drawn * scale).bfloat16()


# --- attention ---


def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Tensor, ...], dict[str, Any]]]:
    """What attention to a pack of one group asks of a kernel: for the trunk, the prompt and its completions."""
    tree = Tree(SIZES.trunk, [SIZES.own], [[SIZES.tokens] * SIZES.group])
    length = SIZES.trunk + SIZES.own + SIZES.tokens * SIZES.group
    asked: list[tuple[tuple[Tensor, ...], dict[str, Any]]] = []
    real = F.scaled_dot_product_attention

    def noted(*parts: Tensor, **options: Any) -> Tensor:
        asked.append((parts, options))
        return real(*parts, **options)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", noted)
    parts = (random(length, heads, HEAD, seed=seed) for seed, heads in enumerate((HEADS, KV_HEADS, KV_HEADS)))
    TreeAttention(tree, DEVICE).attend(0, *parts)
    monkeypatch.undo()
    return asked


def both_ways(parts: tuple[Tensor, ...], options: dict[str, Any]) -> Callable[[], object]:
    """Attention and its gradients."""
    leaves = [part.detach().clone().requires_grad_() for part in parts]
    return lambda: torch.autograd.grad(F.scaled_dot_product_attention(*leaves, **options).sum(), leaves)


def timed(work: Callable[[], object], kernel: SDPBackend) -> float | None:
    """Milliseconds by one kernel; None where it refuses."""
    try:
        with sdpa_kernel(kernel):
            return milliseconds(work)
    except RuntimeError as error:
        if "kernel" not in str(error).lower():
            raise
        return None


def test_kernels_take_the_shapes_of_attention(figures: Figures, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = ("attention of the trunk, square", "attention of a prompt, masked", "attention of completions, masked")
    failed = None
    for check, call in zip(checks, calls(monkeypatch), strict=True):
        work = both_ways(*call)
        took = {name: timed(work, kernel) for name, kernel in KERNELS.items()}
        told = [f"{name} {'refuses' if ms is None else f'{ms:.2f} ms'}" for name, ms in took.items()]
        fused = any(ms for name, ms in took.items() if name != "MATH")
        try:
            figures(
                check, f"{', '.join(told)}; as chosen {milliseconds(work):.2f} ms, both ways", fused if CARD else None
            )
        except AssertionError as error:  # the others are told, too
            failed = error
    assert failed is None, failed


# --- products in fp32 ---


def test_logits_are_exact(figures: Figures) -> None:
    """Logits up to 25 and more, as those of real models: in bf16 they are multiples of 0.125."""
    hidden = random(SIZES.prompts * SIZES.group, WIDTH)
    head = random(TEXT["vocab_size"], WIDTH, scale=5 * WIDTH**-0.5, seed=1)
    with autocast():
        found = logits(hidden, head)
        took = milliseconds(lambda: logits(hidden, head))
        rounded = milliseconds(lambda: F.linear(hidden, head).float())
    # A few rows at a time: a head in fp64 would be 2.5 GB.
    errors = [(found[:, rows] - hidden.double() @ head[rows].double().T).abs().max() for rows in parts(len(head))]
    error, largest = float(torch.stack(errors).max()), float(found.abs().max())
    assert found.dtype == torch.float32
    assert largest > 16  # else bf16 would not do harm
    figures("logits: time", f"{took:.2f} ms, in bf16 {rounded:.2f} ms, {len(hidden)} rows")
    # A hundredth of what bf16 would round away.
    figures("logits: error", f"{error:.1e} of logits up to {largest:.0f}", error < 1e-3)


def parts(length: int) -> list[slice]:
    """A few thousand rows at a time."""
    return [slice(start, start + 8192) for start in range(0, length, 8192)]


def test_gradients_of_logits(figures: Figures) -> None:
    words = min(8192, TEXT["vocab_size"])
    hidden, head, weights = random(64, WIDTH), random(words, WIDTH, seed=1), random(64, words, seed=2).float()
    leaves = [part.clone().requires_grad_() for part in (hidden, head)]
    with autocast():
        found = torch.autograd.grad((logits(*leaves) * weights).sum(), leaves)
    exact = (weights.double() @ head.double(), weights.double().T @ hidden.double())
    errors = [float((one.double() - other).norm() / other.norm()) for one, other in zip(found, exact, strict=True)]
    # Each gradient is rounded to 8 bits, by 0.2 % on average.
    figures("logits: error of gradients", f"hidden {errors[0]:.2%}, head {errors[1]:.2%}", max(errors) < 0.01)


def test_scores_are_exact(figures: Figures) -> None:
    """As while tokens are written: the rows of a prompt times its keys, in scores of several hundred."""
    rows, nodes = SIZES.group * HEADS // KV_HEADS, KV_HEADS * SIZES.prompts
    queries, keys = random(nodes, rows, HEAD, scale=5), random(nodes, HEAD, SIZES.own, scale=5, seed=1)
    with autocast():
        product = exact_product(queries)
        found, took = product(queries, keys), milliseconds(lambda: product(queries, keys))
        plain = milliseconds(lambda: queries @ keys)
    exact = queries.double() @ keys.double()
    error = float((found.double() - exact).abs().max() / exact.abs().max())
    assert found.dtype == torch.float32
    figures("scores: time", f"{took:.3f} ms, in bf16 {plain:.3f} ms")
    # bf16 rounds by 4e-3: forty times as much.
    figures("scores: error", f"{error:.1e} of {float(exact.abs().max()):.0f}", error < 1e-4)
