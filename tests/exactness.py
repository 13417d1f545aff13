"""Numbers of a stock network, row by row, to compare those of a policy with; in 64 bits if that is asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fea.data.prompt import Prompt

# Completions of two prompts, two each.
IDS = torch.randint(1, 500, (4, 6), generator=torch.Generator().manual_seed(3))
MASK = (torch.arange(6) < torch.tensor([6, 2, 1, 5])[:, None]).long()

# Log-probabilities of all completion tokens, and gradients by name of a weight.
Numbers = tuple[Tensor, dict[str, Tensor]]


def numbers(network: Any, logps: Tensor) -> Numbers:
    """Log-probabilities, and the gradients of a random combination of them."""
    network.zero_grad()
    (logps * torch.randn(len(logps), generator=torch.Generator().manual_seed(4)).to(logps)).sum().backward()
    weights = network.named_parameters()
    return logps.detach(), {name: weight.grad.clone() for name, weight in weights if weight.grad is not None}


def by_rows(network: Any, prompts: list[Prompt], dtype: torch.dtype) -> Numbers:
    """By the whole network, each row alone."""
    found = []
    for row, mask in enumerate(MASK):
        prompt, ids = prompts[row // 2], IDS[row, mask.bool()]
        words = network(**told(prompt, ids, dtype), use_cache=False).logits[0, len(prompt.ids) - 1 : -1]
        found.append(words.log_softmax(dim=-1).gather(-1, ids[:, None])[:, 0])
    return numbers(network, torch.cat(found))


def told(prompt: Prompt, ids: Tensor, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """What the whole network is given to read a row of one prompt and what follows it."""
    row = torch.cat([prompt.ids, ids])[None]
    given = dict(prompt.given or {})
    for name in ("token_type_ids", "mm_token_type_ids"):
        if name in given:
            given[name] = torch.cat([given[name], torch.zeros(1, len(ids), dtype=torch.long)], dim=1)
    given = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in given.items()}
    return {"input_ids": row, "attention_mask": torch.ones_like(row), **given}


def compute_in_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms and heads compute in 32 bits whatever they are given; from now on in 64."""
    whole, cast = torch.Tensor.float, torch.Tensor.to

    def to(tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        lower = torch.float32 in (*args, options.get("dtype")) and tensor.dtype == torch.float64
        return tensor if lower else cast(tensor, *args, **options)

    monkeypatch.setattr(torch.Tensor, "float", lambda x: x if x.dtype == torch.float64 else whole(x))
    monkeypatch.setattr(torch.Tensor, "to", to)


def worst(gradients: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """Largest error of a gradient by its own size, or by a thousandth of the largest one's.

    That of a bias of keys is nothing but rounding: attention does not change with it.
    """
    least = 1e-3 * max(gradient.norm() for gradient in exact.values())
    errors = [(gradients[name].double() - wanted).norm() / max(wanted.norm(), least) for name, wanted in exact.items()]
    return float(max(errors))
