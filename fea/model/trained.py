"""Which weights of a network are trained, and from which values they begin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from fea.errors import FEAError
from fea.model import lora
from fea.model.config import PolicyConfig
from fea.model.families.family import Anatomy
from fea.model.pretrained import load_weights


def mark(
    model: Any, family: Anatomy, config: PolicyConfig, start: Mapping[str, Tensor], tower: Iterable[nn.Parameter]
) -> None:
    """Freezes all but what is trained: the adapter, or without one all weights but those of the tower.

    Args:
        model: the whole network.
        family: says where things lie in it.
        config: says what is trained.
        start: weights to begin from instead of the base's; adapter weights among them go into the adapter.
        tower: what is trained only if that is asked for by itself.

    Raises:
        FEAError: `start` does not fit it.
    """
    model.requires_grad_(False)
    whole = {name: weight for name, weight in start.items() if "lora_" not in name}
    adapted = {name: weight for name, weight in start.items() if "lora_" in name}
    load_weights(model, whole)
    if config.lora:
        lora.add(model, family, config.lora)
        load_weights(model, adapted)
        return
    if adapted:
        raise FEAError("model.init_from: it holds an adapter; give policy.lora the same rank, alpha and targets")
    model.requires_grad_(True)
    for weight in tower:
        weight.requires_grad_(config.train_vision)
