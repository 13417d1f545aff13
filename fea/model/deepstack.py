"""DeepStack (arXiv 2406.04334): the first layers of the language model are given features of the image, too.

What the tower saw in one of its own layers is added, at the visual tokens, to what a layer of the language model has made. By
themselves the families ask where these tokens are by a mask of flags, for which a GPU has to be waited for in each layer, and
whose number no dry run knows. Here the features are spread over the row, with zeros elsewhere, and added.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Deep(NamedTuple):
    """What is added. Rows of L tokens, D wide, with n visual tokens in all.

    Attributes:
        where: (R, L, 1) True at the visual tokens.
        layers: (n, D) for each of the first layers.
    """

    where: Tensor
    layers: list[Tensor]


def install(layers: Iterable[nn.Module]) -> None:
    """Lets the first layers of a language model add what it is given as `deep`.

    Args:
        layers: as many as there are features for.
    """
    for number, layer in enumerate(layers):
        layer.register_forward_hook(_Adding(number), with_kwargs=True)


class _Adding:
    def __init__(self, number: int):
        self.number = number

    def __call__(self, layer: nn.Module, _: Any, given: dict[str, Any], made: Tensor) -> Tensor:
        deep: Deep | None = given.get("deep")
        if deep is None:
            return made
        return made + torch.zeros_like(made).masked_scatter(deep.where, deep.layers[self.number].to(made.dtype))
