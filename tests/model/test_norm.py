"""Norms as one operation: the values of transformers' own, and only where these are plain."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRMSNorm

from fea.model.norm import RMSNorm, install


@pytest.mark.parametrize(("kept", "apart"), [(torch.float32, 1e-6), (torch.bfloat16, 0.04)])
def test_values_and_gradients_are_those_of_transformers(kept: torch.dtype, apart: float) -> None:
    torch.manual_seed(0)
    stock = Qwen2_5_VLRMSNorm(64, eps=0.01).to(kept)
    nn.init.normal_(stock.weight)
    model = nn.ModuleDict({"norm": Qwen2_5_VLRMSNorm(64, eps=0.01).to(kept)})
    model["norm"].load_state_dict(stock.state_dict())
    kind = dict(model.named_parameters())
    install(model)
    assert isinstance(model["norm"], RMSNorm)
    assert dict(model.named_parameters()) == kind  # the same weight under the same name
    x, weights = torch.randn(5, 64).to(kept), torch.randn(5, 64)

    def results(norm: nn.Module) -> tuple[torch.Tensor, ...]:
        given = x.clone().requires_grad_()
        found = norm(given)
        return found, *torch.autograd.grad((found * weights).sum(), [given, *norm.parameters()])

    for found, expected in zip(results(model["norm"]), results(stock), strict=True):
        assert found.dtype == kept
        torch.testing.assert_close(found, expected, rtol=0.02 if apart > 0.01 else 1e-5, atol=apart)


class OneMoreRMSNorm(Qwen2_5_VLRMSNorm):
    """Its weight is what is added to 1, as in some families; all else is as elsewhere."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return super().forward(hidden_states) * (1 + self.weight) / self.weight


def test_norms_of_another_kind_stay() -> None:
    model = nn.ModuleDict({"gemma": Gemma3RMSNorm(8), "more": OneMoreRMSNorm(8), "layer": nn.LayerNorm(8)})
    install(model)
    assert isinstance(model["gemma"], Gemma3RMSNorm)
    assert isinstance(model["more"], OneMoreRMSNorm)
    assert isinstance(model["layer"], nn.LayerNorm)


def test_autocast_does_not_change_the_type() -> None:
    norm = RMSNorm(8, eps=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(torch.randn(2, 8)).dtype == torch.float32
        assert norm(torch.randn(2, 8).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16], ids=str)
def test_in_parts_is_what_it_is_at_once(kept: torch.dtype) -> None:
    """Small rows, large rows, and one of zeros, as padding is, whose gradient is finite."""
    torch.manual_seed(0)
    norm = RMSNorm(64, eps=1e-6)
    nn.init.normal_(norm.weight)
    x = torch.randn(4, 64).mul_(torch.tensor([1e-4, 1.0, 1e4, 0.0])[:, None]).to(kept)
    results = []
    for way in (norm._in_parts, norm._at_once):
        given = x.clone().requires_grad_()
        found = way(given)
        results.append((found, *torch.autograd.grad(found.float().square().sum(), [given, norm.weight])))
    for parts, once in zip(*results, strict=True):
        assert parts.isfinite().all()
        torch.testing.assert_close(parts, once, rtol=2e-5 if kept == torch.float32 else 0.02, atol=1e-5)
