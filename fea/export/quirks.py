"""How llama.cpp computes the models that it reads (builds 10229 to 11549): what it leaves out, and what it rounds to 16 bits.

Qwen2-VL, Qwen2.5-VL    without the epsilon of the norms: the loader never asks for it, and goes on with 0
Qwen3-VL                without the rotation of one or two of the slowest pairs of numbers of a head: time, height and width
                        take turns along the pairs, and what is left behind the turns of height or width has no position
all                     patches and the weights they are embedded by, and what goes into a GELU and comes out, in 16 bits

Published models have an epsilon of 1e-6 and slowest pairs that turn by 4e-7 a token; the tiny ones of `fea demo` have 1e-5 and
2e-4, and say something else by some thousandths of a nat. With all of this they part from llama.cpp by less than 2e-4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN

from fea.model.norm import RMSNorm

_LINEAR = 10  # from here on its GELU hands on what it is given, and below the negative of it 0


class _Rounded(nn.Module):
    """A GELU by a table of 16 bits."""

    def __init__(self, exact: Callable[[Tensor], Tensor]):
        super().__init__()
        self.exact = exact

    def forward(self, x: Tensor) -> Tensor:
        """Like x."""
        inside = _rounded(self.exact(_rounded(x)))
        return torch.where(x.abs() < _LINEAR, inside, x.clamp(min=0))


def as_llama_computes(model: Any) -> str:
    """Changes a network into the one that llama.cpp computes.

    Args:
        model: in fp32, of a family that is known by name.

    Returns:
        What that leaves out, in words; "" if there is nothing of the kind.
    """
    text, core = model.config.text_config, model.model.language_model
    _round(model.model.visual)
    if text.rope_parameters.get("mrope_interleaved"):
        return _rotations(core.rotary_emb, text.rope_parameters["mrope_section"])
    return _epsilon(core)


def _epsilon(core: Any) -> str:
    norms = [module for module in core.modules() if isinstance(module, RMSNorm) and module.eps]
    for norm in norms:
        norm.eps = 0.0
    return "the epsilon of the norms" if norms else ""


def _rotations(rotary: Any, sections: Sequence[int]) -> str:
    lost = [pair for pair in range(len(rotary.inv_freq)) if pair >= 3 * sections[pair % 3]]
    rotary.inv_freq[lost] = 0.0
    return f"the rotation of {len(lost)} of the {len(rotary.inv_freq)} pairs of a head" if lost else ""


def _round(tower: Any) -> None:
    """Rounds what a vision tower of llama.cpp rounds."""
    weight = tower.patch_embed.proj.weight
    weight.data = _rounded(weight.data)
    tower.patch_embed.register_forward_pre_hook(lambda module, given: (_rounded(given[0]), *given[1:]))
    quick = type(ACT2FN["quick_gelu"])
    for module in list(tower.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, quick):
                setattr(module, name, _Rounded(child))
            elif isinstance(child, (nn.GELU, type(ACT2FN["gelu_pytorch_tanh"]))):
                setattr(module, name, _Rounded(_gelu))


def _gelu(x: Tensor) -> Tensor:
    """The only one that it has, whatever a model asks for."""
    return F.gelu(x, approximate="tanh")


def _rounded(x: Tensor) -> Tensor:
    return x.half().to(x.dtype)
