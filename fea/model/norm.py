"""RMS norms as one operation, where transformers takes eight."""

from __future__ import annotations

import functools
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """Root mean square norm (Zhang and Sennrich, arXiv 1910.07467): x / sqrt(mean(x^2) + eps) * weight, in fp32 inside."""

    def forward(self, x: Tensor) -> Tensor:
        """Like x."""
        # Autocast would return fp32 on a GPU, which every layer behind would cast back.
        with torch.autocast(x.device.type, enabled=False):
            return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


def install(model: nn.Module) -> None:
    """Puts them in place of a model's own, with the same weights under the same names; others stay."""
    for module in list(model.modules()):
        for name, norm in list(module.named_children()):
            if _is_plain(cast(Any, type(norm))):
                setattr(module, name, _fused(norm))


def _fused(norm: Any) -> RMSNorm:
    fused = RMSNorm(norm.weight.shape, eps=norm.variance_epsilon)
    fused.weight = norm.weight
    return fused


@functools.cache
def _is_plain(kind: Any) -> bool:
    """Whether a class computes this norm and no other: some families add 1 to the weight, or have none."""
    if not kind.__name__.endswith("RMSNorm") or issubclass(kind, RMSNorm):
        return False
    with torch.device("cpu"), torch.random.fork_rng([]):
        torch.manual_seed(0)
        norm, x, weight = kind(8, eps=0.1), torch.randn(2, 8), torch.randn(8)
        with torch.no_grad():
            norm.weight.copy_(weight)
            expected = F.rms_norm(x, (8,), weight, 0.1)
            return hasattr(norm, "variance_epsilon") and torch.allclose(norm(x), expected, atol=1e-6)
