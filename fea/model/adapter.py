"""The adapter in a quarter of the operations, the same in training and while tokens are written.

PEFT computes a layer as  W x + s (B (A x)),  A and B in fp32: beside the layer's own product two more, a scaling and a sum, and
three casts under autocast. On a GPU their launches cost more than their arithmetic. Here layers that are given the same x share
one product with their A, and the product with B is added in one operation:

    q, k, v        h = x [A_q; A_k; A_v]          1
                   W x + s B h, for each          1 and 1

Shapes in names: D inputs of a layer, O outputs, r rank, J layers that share their input, N tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Names, in all families, of the layers of one module that are given the same tensor.
_TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class Adapted(nn.Module):
    """A linear layer with its adapter, in place of PEFT's and with its weights under the same names.

    Args:
        layer: PEFT's.
        given: what it shares with the layers beside it.
    """

    def __init__(self, layer: Any, given: Input):
        super().__init__()
        self.base_layer, self.lora_A, self.lora_B = layer.base_layer, layer.lora_A, layer.lora_B
        self.scale, self.given = layer.scaling["default"], given
        given.layers.append(self)

    @property
    def down_rD(self) -> Tensor:
        """A."""
        weight: Tensor = self.lora_A["default"].weight
        return weight

    @property
    def up_rO(self) -> Tensor:
        """B, transposed."""
        weight: Tensor = self.lora_B["default"].weight
        return weight.T

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., O)."""
        found = self.base_layer(x)
        inner_Nr, up_rO = self.given.inner(self, x)
        up_rO = up_rO.to(inner_Nr.dtype)  # under autocast, or beside a base in bf16
        return torch.addmm(found.flatten(0, -2), inner_Nr, up_rO, alpha=self.scale).view_as(found)


class Input:
    """Layers that are given the same tensor: what is computed for the first of them serves all."""

    def __init__(self) -> None:
        self.layers: list[Adapted] = []  # a list, so that none of them owns the others
        self.x: Tensor | None = None
        self.inner_Nr: Sequence[Tensor] = ()
        self.held: tuple[Tensor, list[Tensor]] | None = None

    def inner(self, layer: Adapted, x: Tensor) -> tuple[Tensor, Tensor]:
        """A x and B of one of them."""
        number = self.layers.index(layer)
        down_JrD, ups_rO = self.held or (self._down(), [layer.up_rO for layer in self.layers])
        if x is not self.x:
            ranks = [len(layer.down_rD) for layer in self.layers]
            self.x, self.inner_Nr = x, F.linear(x, down_JrD.to(x.dtype)).flatten(0, -2).split(ranks, dim=-1)
        inner_Nr = self.inner_Nr[number]
        if number == len(self.layers) - 1:  # nobody asks again, and what is remembered would stay until the next pass
            self.x, self.inner_Nr = None, ()
        return inner_Nr, ups_rO[number]

    def _down(self) -> Tensor:
        downs = [layer.down_rD for layer in self.layers]
        return torch.cat(downs) if len(downs) > 1 else downs[0]

    def hold(self, dtype: torch.dtype) -> None:
        """Computes with the present weights, cast once."""
        self.held = self._down().to(dtype), [layer.up_rO.to(dtype) for layer in self.layers]


def install(model: nn.Module) -> None:
    """Puts these layers in place of PEFT's."""
    from peft.tuners.lora import LoraLayer

    for module in list(model.modules()):
        layers = {name: child for name, child in module.named_children() if isinstance(child, LoraLayer)}
        for names in (*_TOGETHER, *((name,) for name in layers)):
            given = Input()
            for name in names:
                if name in layers:
                    setattr(module, name, Adapted(layers.pop(name), given))


@contextmanager
def held(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Inside, the weights of adapters are those of now, cast once and not at each token.

    Args:
        model: with adapters, or without: then nothing happens.
        dtype: that its layers compute in.
    """
    inputs = list({id(layer.given): layer.given for layer in model.modules() if isinstance(layer, Adapted)}.values())
    for given in inputs:
        given.hold(dtype)
    try:
        yield
    finally:
        for given in inputs:
            given.held = None
