"""The adapter of a policy: what it adds to each layer, and as a folder of PEFT.

Shapes in names: D inputs of a layer, O outputs, r rank.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import save_file
from torch import Tensor, nn

from fea.model.adapter import Adapted


class Update(NamedTuple):
    """What an adapter adds to the weight of one layer: scale * up @ down.

    Attributes:
        layer: its dotted name in the network, as transformers builds it.
        down_rD: A.
        up_Or: B.
        scale: alpha / rank.
    """

    layer: str
    down_rD: Tensor
    up_Or: Tensor
    scale: float

    @property
    def rank(self) -> int:
        """Of the update."""
        return len(self.down_rD)

    @property
    def alpha(self) -> float:
        """The scale times the rank; a whole number wherever it is one, as configs write it."""
        alpha = self.scale * self.rank
        return round(alpha) if abs(alpha - round(alpha)) < 1e-9 * alpha else alpha


def updates_of(network: nn.Module) -> list[Update]:
    """All updates of a network, read from its layers and not from a config, so that each has its own rank and scale."""
    return [
        Update(name, layer.down_rD.detach().cpu().clone(), layer.up_rO.detach().T.cpu().clone(), layer.scale)
        for name, layer in network.named_modules()
        if isinstance(layer, Adapted)
    ]


def write_peft(folder: Path, updates: Sequence[Update], base: str) -> None:
    """Writes `adapter_config.json` and `adapter_model.safetensors` as PEFT names them.

    Args:
        folder: that is there.
        updates: of the layers.
        base: hub name or folder name of the model that they belong to.
    """
    from peft import LoraConfig

    rank, alpha = (
        Counter(values).most_common(1)[0][0] for values in zip(*((u.rank, u.alpha) for u in updates), strict=True)
    )
    LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=[update.layer for update in updates],  # whole names: short ones would match the vision tower too
        rank_pattern={update.layer: update.rank for update in updates if update.rank != rank},
        alpha_pattern={update.layer: update.alpha for update in updates if update.alpha != alpha},
        base_model_name_or_path=base,
        task_type="CAUSAL_LM",
        inference_mode=True,
    ).save_pretrained(folder)
    weights = {}
    for update in updates:
        weights[f"base_model.model.{update.layer}.lora_A.weight"] = update.down_rD.contiguous()
        weights[f"base_model.model.{update.layer}.lora_B.weight"] = update.up_Or.contiguous()
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
