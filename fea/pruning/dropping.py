"""Layers taken out of a network in memory, those behind them numbered anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from fea.model.network import Network


def inner(network: Network) -> range:
    """Places of the layers that may go.

    The first layer stays, since all others were trained on what it makes of bare embeddings, and the last one, which the norm
    and the head were trained on: to take either away breaks a model at once (as ShortGPT and Gromov et al. found, and PIP
    names no layer). Where DeepStack adds features of the image behind the first layers, all of these stay: the features
    go by the number of the layer, and without one of them those behind it would be given another one's.
    """
    return range(max(1, network.deepstack), len(network.language_model.layers) - 1)


def keep(network: Network, places: Sequence[int]) -> None:
    """Leaves layers in a network, in their order, and takes out all others.

    Args:
        network: whose language model it is.
        places: of the layers that stay, ascending, as they are now.
    """
    model = network.language_model
    _put(network, [model.layers[place] for place in places])
    config = model.config
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[place] for place in places]


@contextmanager
def without(network: Network, place: int) -> Iterator[None]:
    """Inside, a network lacks a layer.

    Args:
        network: whose language model it is.
        place: of the layer.
    """
    before = list(network.language_model.layers)
    _put(network, [*before[:place], *before[place + 1 :]])
    try:
        yield
    finally:
        _put(network, before)


def _put(network: Network, layers: Sequence[nn.Module]) -> None:
    model: Any = network.language_model
    model.layers = nn.ModuleList(layers)
    model.config.num_hidden_layers = len(layers)
    for place, layer in enumerate(layers):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):  # by which keys and values are kept
                module.layer_idx = place  # type: ignore[assignment]
