"""Norms of a gradient by layers, whatever the weights are kept in, without ever holding the gradient of more than a matrix.

Weights in 4 bits have no gradient in autograd. But the gradient of a linear layer's weight is the product of what flows back
into it with what flowed through it,

    G_OD = sum over tokens of delta_LO^T a_LD

and both are seen from outside by hooks. So the numbers are those of whole gradients, exactly, in fp32, in bf16 and in 4 bits,
where the gradient of a fresh adapter (G A^T, a random sketch of G) or the product of the norms of delta and a (a bound from
above) would be estimates. G is made in fp32, measured and forgotten. Norms and biases are small, and autograd keeps theirs.

Shapes in names: L tokens of all rows, D inputs of a linear layer, O its outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Measured(NamedTuple):
    """What a backward pass leaves in one layer of the language model.

    Attributes:
        norm: of the gradient of all its weights.
        products: sum over its weights of |gradient x weight|.
    """

    norm: float
    products: float


class Gradients:
    """Measures backward passes through layers.

    Args:
        layers: of the language model.
    """

    def __init__(self, layers: Sequence[nn.Module]):
        self.layers = layers
        self._squares = [0.0] * len(layers)
        self._products = [0.0] * len(layers)

    def of(self, loss: Tensor) -> list[Measured]:
        """By layer, what the backward pass of a loss leaves there. Only inside of `watching`, where the loss was computed."""
        with torch.autocast(
            loss.device.type, enabled=False
        ):  # inside of it, what was kept for the pass would be rounded
            loss.backward()
        for number, layer in enumerate(self.layers):
            for weight in _small(layer):
                if weight.grad is not None:
                    self._add(number, weight.grad.float(), weight.detach().float())
                    weight.grad = None
        found = [Measured(sqrt(s), p) for s, p in zip(self._squares, self._products, strict=True)]
        self._squares, self._products = [0.0] * len(found), [0.0] * len(found)
        return found

    def _add(self, number: int, gradient: Tensor, weight: Tensor) -> None:
        self._squares[number] += float(gradient.square().sum())
        self._products[number] += float((gradient * weight).abs().sum())

    def _back(self, number: int, linear: nn.Linear, given_LD: Tensor, back: Tensor) -> None:
        delta_LO = back.detach().flatten(0, -2).float()
        self._add(number, delta_LO.T @ given_LD.flatten(0, -2).float(), matrix(linear))

    def _through(self, number: int, linear: nn.Linear, given: tuple[Tensor, ...], made: Tensor) -> None:
        if made.requires_grad:
            made.register_hook(partial(self._back, number, linear, given[0].detach()))


@contextmanager
def watching(model: nn.Module, layers: Sequence[nn.Module]) -> Iterator[Gradients]:
    """Inside, nothing of a model is trained, and backward passes through its layers are measured.

    Args:
        model: the whole network; after the block each of its weights requires a gradient as before.
        layers: of its language model.
    """
    for layer in layers:
        _renew(layer)
    gradients, before = Gradients(layers), [(weight, weight.requires_grad) for weight in model.parameters()]
    model.requires_grad_(False)
    hooks = []
    for number, layer in enumerate(layers):
        for linear in _linear(layer):
            hooks.append(linear.register_forward_hook(partial(_hook, gradients, number)))
        for weight in _small(layer):
            if weight.is_inference():  # bitsandbytes casts a bias where it is used first, and that was in a rollout
                weight.data = weight.data.clone()
            weight.requires_grad_(True)
    try:
        yield gradients
    finally:
        for hook in hooks:
            hook.remove()
        for weight, needed in before:
            weight.requires_grad_(needed)
            weight.grad = None


def _renew(layer: nn.Module) -> None:
    """Puts ordinary weights in place of those of the inference mode, of which autograd would know nothing.

    Beside a matrix in 4 bits, bitsandbytes casts the bias in place at the first input of another type: that of a rollout.
    """
    for module in layer.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.is_inference():
                setattr(module, name, nn.Parameter(weight.clone().detach(), requires_grad=False))


def _hook(gradients: Gradients, number: int, linear: Any, given: tuple[Tensor, ...], made: Tensor) -> None:
    gradients._through(number, linear, given, made)


def weight_norm(layer: nn.Module) -> float:
    """Norm of all weights of a layer; those in 4 bits as they are unpacked, those of an adapter left out."""
    squares = [matrix(linear).square().sum() for linear in _linear(layer)]
    squares += [weight.detach().float().square().sum() for weight in _small(layer)]
    return sqrt(sum(float(square) for square in squares))


def matrix(linear: nn.Linear) -> Tensor:
    """(O, D) weight of a linear layer in fp32, unpacked if it is in 4 bits."""
    state = getattr(linear.weight, "quant_state", None)
    if state is None:
        return linear.weight.detach().float()
    from bitsandbytes.functional import dequantize_4bit

    unpacked: Tensor = dequantize_4bit(linear.weight.data, state)
    return unpacked.float()


def size(layer: nn.Module) -> int:
    """Weights of a layer."""
    return sum(linear.in_features * linear.out_features for linear in _linear(layer)) + sum(
        weight.numel() for weight in _small(layer)
    )


def _linear(layer: nn.Module) -> list[nn.Linear]:
    """Linear layers, but for the factors of an adapter."""
    named = layer.named_modules()
    return [module for name, module in named if isinstance(module, nn.Linear) and "lora_" not in name]


def _small(layer: nn.Module) -> list[nn.Parameter]:
    """Weights that belong to no matrix: those of norms, and biases."""
    matrices = {id(linear.weight) for linear in _linear(layer)}
    return [weight for name, weight in layer.named_parameters() if id(weight) not in matrices and "lora_" not in name]
