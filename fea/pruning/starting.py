"""What is pruned: a run as a whole model in a folder, its adapter merged; and the policy that its layers are looked at in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from fea.errors import FEAError
from fea.export.adapter import updates_of
from fea.export.folder import base_folder, write_beside
from fea.export.merged import Trained, write_merged
from fea.export.naming import tied_names
from fea.model import elsewhere, frozen
from fea.model.checkpoints import Stored, weights
from fea.model.config import LoRA, PolicyConfig
from fea.model.load import is_known, skeleton
from fea.model.network import Network
from fea.model.policy import Policy
from fea.pruning.rounds import check_count


def check(run: str, told: Stored, count: int) -> None:
    """Refuses, before any weight is read, networks whose layers are not known by name, and more layers than may go.

    Args:
        run: as it was named.
        told: what it says of itself, with its base where it is now.
        count: layers that are to go.

    Raises:
        FEAError: the base belongs to another family, cannot be had, or has too few layers.
    """
    if not is_known(told.policy):
        raise FEAError(
            f"run: the base of '{run}' belongs to a family that is not known by name, of which no layers can be taken out; use "
            "a model of Qwen3-VL, Qwen2.5-VL or Qwen2-VL"
        )
    check_count(cast(Network, skeleton(told.policy)), count)


def whole_model(run: str, told: Stored, scratch: Path) -> Path:
    """A folder with all weights as training left them; that of the base, where nothing was trained.

    Layers are taken out of merged weights: an adapter beside a layer is a part of what that layer does, and what heals a pruned
    model is a fresh one. Of a base in 4 bits it is the unquantized one that is merged into, and written.

    Args:
        run: folder or checkpoint of a run, a base, an exported model or an adapter.
        told: what it says of itself, with its base where it is now.
        scratch: an empty folder.

    Raises:
        FEAError: the base cannot be had, is a quantized one, or is not the one that the run was trained on.
    """
    for name in ("base", "merged"):
        (scratch / name).mkdir()
    base = base_folder(told.policy, scratch / "base")
    alone = elsewhere.names_one(run) and not elsewhere.is_adapter(run)
    trained = {} if alone else weights(run)
    if not trained:
        return base
    policy = Policy(replace(told.policy, four_bit=False, checkpointing=False), trained)
    frozen.check(told.frozen, frozen.digest(policy), told.policy.base)
    named = {name.removeprefix("model."): weight for name, weight in trained.items() if "lora_" not in name}
    write_beside(scratch / "merged", base, policy.network, told, weights=True)
    write_merged(scratch / "merged", base, Trained(named, updates_of(policy.model), tied_names(base)))
    return scratch / "merged"


def looked_at(config: PolicyConfig, folder: Path, four_bit: bool) -> PolicyConfig:
    """The policy in which the layers of a whole model are looked at.

    Args:
        config: of the run.
        folder: with the model.
        four_bit: look at it in 4 bits, whatever the run was trained in.
    """
    four_bit = four_bit or config.four_bit
    low = four_bit or config.dtype == "bfloat16"
    return replace(
        config,
        base=str(folder),
        lora=LoRA() if low else None,  # weights that are not in fp32 stand beside one; a fresh one changes nothing
        four_bit=four_bit,
        train_vision=False,  # so that each image goes through the tower once
        checkpointing=False,
        layout="group",  # both texts of a pair behind the one prompt that they answer
    )
