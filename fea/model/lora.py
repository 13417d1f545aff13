"""Where an adapter lies: on layers of the language model, and on all linear layers of what sees, if that is asked for."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from fea.errors import FEAError
from fea.model import adapter
from fea.model.config import LoRA
from fea.model.families.family import Anatomy


def add(model: nn.Module, family: Anatomy, lora: LoRA) -> None:
    """Puts an adapter on a network whose weights are frozen; in fp32, and a zero update at first.

    Args:
        model: the whole network.
        family: says where things lie in it.
        lora: how large the adapter is, and where it lies.

    Raises:
        FEAError: `targets` match no layer, or one that cannot have an adapter or would not learn.
    """
    from peft import inject_adapter_in_model

    targets = targets_of(family, lora)
    _check_targets(model, family, targets)
    try:
        inject_adapter_in_model(peft_config(model, family, lora), model)
    except ValueError as error:
        raise FEAError(
            f"policy.lora.targets: '{targets}' matches what cannot have an adapter; name linear layers of the language "
            "model"
        ) from error
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    adapter.install(model)


def peft_config(model: nn.Module, family: Anatomy, lora: LoRA) -> Any:
    """The same in the words of PEFT: one adapter, whose rank is another one in what sees."""
    from peft import LoraConfig

    targets, ranks = targets_of(family, lora), dict[str, int]()
    if lora.vision:
        targets = "|".join([f"(?:{targets})", *map(re.escape, vision_layers(model, family))])
        ranks = {rf"{re.escape(path)}\..*": lora.vision.rank for path in family.seeing}
    return LoraConfig(
        r=lora.rank,
        rank_pattern=ranks,
        lora_alpha=lora.alpha,
        use_rslora=lora.rs,
        lora_dropout=0.0,
        target_modules=targets,
    )


def targets_of(family: Anatomy, lora: LoRA) -> str:
    """Pattern of the layers that get an adapter: where none is named, of all linear layers of the language model."""
    return family.lora_targets if lora.targets == LoRA().targets else lora.targets


def vision_layers(model: nn.Module, family: Anatomy) -> list[str]:
    """Names of the linear layers that an image goes through before the language model."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and is_seeing(name, family)]


def is_seeing(name: str, family: Anatomy) -> bool:
    """Whether a module or a weight is a part of what sees."""
    return f"{name}.".startswith(tuple(f"{path}." for path in family.seeing))


def _check_targets(model: nn.Module, family: Anatomy, targets: str) -> None:
    """Holds that an adapter would learn wherever the pattern puts one; PEFT matches whole names too."""
    try:
        matched = [name for name, _ in model.named_modules() if re.fullmatch(targets, name)]
    except re.error:
        matched = []
    if not matched:
        raise FEAError(f"policy.lora.targets: no layer matches '{targets}'")
    if seeing := [name for name in matched if is_seeing(name, family)]:
        raise FEAError(
            f"policy.lora.targets: '{targets}' matches '{seeing[-1]}', which is in the vision tower; name layers of the "
            "language model only, as the default does, and set policy.lora.vision for an adapter on the tower"
        )
    if family.head in matched:
        raise FEAError(
            f"policy.lora.targets: '{targets}' matches '{family.head}', which is in the output head, of which "
            "log-probabilities use the base's weight alone: an adapter there would be counted and never learn; name layers of "
            "the language model only, as the default does"
        )
