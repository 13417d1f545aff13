"""Log-probabilities: in fp32 whatever the weights are kept in, and in little memory. Imports torch only.

A softmax is as exact as what goes into it. bf16 has 8 bits: a logit near 25 would be rounded to multiples of 0.125, and an
attention score of 300, such as the biases of real models make, to multiples of 2. So factors may be in bf16, their product is
not: samples come from the distribution that is trained only if both are computed to more bits than these.

Shapes in names: N positions, D hidden width, V vocabulary; B matrices of X rows, Y inner and Z columns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

_WORDS = 8192  # of the vocabulary at a time where factors have to be copied to fp32: 64 MB of a head 2,048 wide

# p is 0, whatever the temperature, but this is finite: in the entropy 0 * -inf would be NaN. So it would be in its gradient if
# this times the weight of an entropy were not finite, for which 1e8 are left.
_IMPOSSIBLE = -1e30

_AGAIN: Any = {"use_reentrant": False, "preserve_rng_state": False}  # nothing that is computed again is random


def exact_product(like: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """How (B, X, Y) times (B, Y, Z) is computed in fp32, inside of autocast too; without a gradient.

    Chosen once for all products of a rollout: to ask each time takes as long as a tenth of a small product.

    Args:
        like: a factor; all others have its type and are on its device.
    """
    if like.dtype == torch.float32:
        multiply: Callable[..., Tensor] = torch.bmm
    elif like.is_cuda:
        multiply = functools.partial(torch.bmm, out_dtype=torch.float32)
    else:
        multiply = _product_of_copies
    kind = like.device.type
    return torch.autocast(kind, enabled=False)(multiply) if torch.is_autocast_enabled(kind) else multiply


def _product_of_copies(left_BXY: Tensor, right_BYZ: Tensor) -> Tensor:
    return torch.bmm(left_BXY.float(), right_BYZ.float())


def as_computed(factor: Tensor) -> Tensor:
    """A factor in the type that autocast asks for, if it is on."""
    kind = factor.device.type
    return factor.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else factor


def logits(hidden_ND: Tensor, head_VD: Tensor) -> Tensor:
    """(N, V) products of hidden states with the output head, in fp32; factors in the type that autocast asks for."""
    hidden_ND, head_VD = as_computed(hidden_ND), as_computed(head_VD)
    if hidden_ND.dtype.itemsize >= 4:
        return F.linear(hidden_ND, head_VD)
    exact: Tensor = cast(Any, _Logits).apply(hidden_ND, head_VD)  # annotated in the newest torch only
    return exact


class _Logits(torch.autograd.Function):
    # A product whose type is not that of its factors has no gradient of its own. That of the logits, at most 1 and of no great
    # range, is rounded like all other gradients.

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, head_VD: Tensor) -> Tensor:
        ctx.save_for_backward(hidden_ND, head_VD)
        with torch.autocast(hidden_ND.device.type, enabled=False):
            if hidden_ND.is_cuda:
                return torch.mm(hidden_ND, head_VD.T, out_dtype=torch.float32)
            found_NV = hidden_ND.new_empty(len(hidden_ND), len(head_VD), dtype=torch.float32)
            exact_ND = hidden_ND.float()
            for part_NV, part_VD in zip(found_NV.split(_WORDS, dim=1), head_VD.split(_WORDS), strict=True):
                part_NV.copy_(exact_ND @ part_VD.float().T)
            return found_NV

    @staticmethod
    def backward(ctx: Any, grad_NV: Tensor) -> tuple[Tensor | None, Tensor | None]:
        hidden_ND, head_VD = ctx.saved_tensors
        grad_NV = grad_NV.to(hidden_ND.dtype)
        needs_hidden, needs_head = ctx.needs_input_grad
        return grad_NV @ head_VD if needs_hidden else None, grad_NV.T @ hidden_ND if needs_head else None


def token_logps(
    hidden_ND: Tensor,
    head_VD: Tensor,
    targets_N: Tensor,
    forbidden: Tensor | None = None,
    temperature: float = 1.0,
    chunk: int = 512,
    entropy_gradient: bool = False,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution; no (N, V) tensor ever exists at once.

    Each chunk is recomputed in the backward pass.

    Args:
        hidden_ND: last hidden states of the predicting positions.
        head_VD: weight of the output head.
        targets_N: token ids.
        forbidden: ids that are never sampled, taken out of the distribution here as there.
        temperature: the logits are divided by it, as in sampling.
        chunk: positions at a time. 512 with a vocabulary of 152k are 0.3 GB of fp32 logits; 2,048 at once would be 1.25 GB,
            three times over in the backward pass.
        entropy_gradient: whether the entropies carry a gradient, too; with it the backward pass of a chunk needs three
            more tensors of the size of its logits.

    Returns:
        Log-probabilities and entropies in nats, (N,) each, fp32.
    """
    chunks = zip(torch.split(hidden_ND, chunk), torch.split(targets_N, chunk), strict=True)
    parts = [
        checkpoint(_chunk_logps, hidden, head_VD, targets, forbidden, temperature, entropy_gradient, **_AGAIN)
        for hidden, targets in chunks
    ]
    logps, entropies = zip(*parts, strict=True)
    return torch.cat(logps), torch.cat(entropies)


def _chunk_logps(
    hidden_ND: Tensor,
    head_VD: Tensor,
    targets_N: Tensor,
    forbidden: Tensor | None,
    temperature: float,
    entropy_gradient: bool,
) -> tuple[Tensor, Tensor]:
    """`token_logps` of so few positions that their logits fit in memory."""
    return _told(log_distribution(logits(hidden_ND, head_VD), forbidden, temperature), targets_N, entropy_gradient)


def logit_logps(
    logits_NV: Tensor,
    targets_N: Tensor,
    forbidden: Tensor | None = None,
    temperature: float = 1.0,
    chunk: int = 512,
    entropy_gradient: bool = False,
) -> tuple[Tensor, Tensor]:
    """`token_logps` from logits that are there: nothing else of their size is kept for the backward pass."""
    chunks = zip(torch.split(logits_NV, chunk), torch.split(targets_N, chunk), strict=True)
    parts = [checkpoint(_told_of_logits, *part, forbidden, temperature, entropy_gradient, **_AGAIN) for part in chunks]
    logps, entropies = zip(*parts, strict=True)
    return torch.cat(logps), torch.cat(entropies)


def _told_of_logits(
    logits_NV: Tensor, targets_N: Tensor, forbidden: Tensor | None, temperature: float, entropy_gradient: bool
) -> tuple[Tensor, Tensor]:
    return _told(log_distribution(logits_NV, forbidden, temperature), targets_N, entropy_gradient)


def _told(log_p_NV: Tensor, targets_N: Tensor, entropy_gradient: bool) -> tuple[Tensor, Tensor]:
    # Of the logits themselves nothing is held here, which would be one more tensor of their size.
    told_NV = log_p_NV if entropy_gradient else log_p_NV.detach()
    entropy_N = -(told_NV.exp() * told_NV).sum(dim=-1)
    return log_p_NV.gather(-1, targets_N[:, None])[:, 0], entropy_N


def log_distribution(logits: Tensor, forbidden: Tensor | None, temperature: float) -> Tensor:
    """fp32 log-probabilities of the distribution that is sampled from: (..., V) to (..., V)."""
    logits = logits.float() / temperature
    if forbidden is not None:
        logits = logits.index_fill(-1, forbidden, _IMPOSSIBLE)
    return logits.log_softmax(dim=-1)
