"""`fea plan`: the memory that a fit will need, from its configs alone."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fea.commands._renamed import refuse_renamed
from fea.commands.fit import SETTINGS, asks_for_help, opening
from fea.errors import FEAError

if TYPE_CHECKING:
    from fea.memory.plan import Plan
    from fea.memory.setting import Setting

# What a fit on one card is begun with: a stage, and overlays of it.
_OVERLAYS: tuple[list[str], ...] = ([], ["4bit"], ["2b"], ["8b"], ["8b", "4bit"], ["7b"], ["7b", "4bit"])
_SHIPPED = [[stage, *overlays] for stage in ("sft", "grpo") for overlays in _OVERLAYS]
_A_NODE = 8  # GPUs of a usual machine with several, for a plan on one without
_OPTIONS = """\
options
  --gpu SIZE            memory of the card, such as 24GB: what to change if the fit needs more; without --config, which of
                        the shipped configs fit there
  --config FILE         settings of the fit; any number of files, later ones overlay earlier ones"""


def plan_memory(arguments: Sequence[str]) -> str:
    """Plans the memory that a fit will need.

        fea plan --config configs/grpo.yaml --gpu 24GB
        fea plan --config configs/grpo.yaml --config configs/7b.yaml --data.batch_size 4
        fea plan --gpu 16GB

    It needs no GPU and no weights: the update runs dry, on tensors without content, and their bytes are counted.

    Args:
        arguments: those of the fit; with `--gpu 24GB`, what to change if it does not fit there; with this alone, which of the
            shipped configs do.

    Returns:
        A table, and the advice.

    Raises:
        FEAError: bad input.
    """
    if asks_for_help(arguments):
        usage = "usage: fea plan [--gpu SIZE] --config FILE [--config FILE ...] [--SETTING VALUE ...]"
        return "\n\n".join([usage, opening(plan_memory), _OPTIONS, SETTINGS.format(command="fit")])
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    own.add_argument("--gpu", nargs="?", const="")
    known, rest = own.parse_known_args(list(arguments))
    card = None if known.gpu is None else _bytes(known.gpu)
    if card and not rest:
        return _which_fit(card)
    refuse_renamed(rest)
    from fea.memory.advice import assumed, table, verdict

    setting, needs, told = _planned(rest, card)
    processes, sharded = setting.spread.processes, setting.spread.sharded
    shares = "share its weights" if sharded else "have all of it"
    told = f", for each of {processes} processes that {shares}{told}" if processes > 1 else ""
    lines = [f"memory plan of {setting.policy.base}{told}", table(needs), *assumed(setting)]
    return "\n".join([*lines, verdict(setting, needs, card)] if card else lines)


def _planned(arguments: Sequence[str], card: float | None) -> tuple[Setting, Plan, str]:
    """What a fit would be, what it needs, and where the number of its processes is from."""
    from fea.commands._trainer import Planner, run
    from fea.memory.plan import plan, settled
    from fea.memory.setting import Spread

    cli = run(["fit", *arguments], Planner)
    trainer = cli.config_init.trainer
    processes, told = _processes(trainer)
    spread = Spread.of(trainer.strategy, processes)
    setting = settled(cli.model.memory_setting(cli.datamodule, trainer, spread), card)
    return setting, plan(setting), told


def _which_fit(card: float) -> str:
    """The shipped configs, and whether the card holds what they need."""
    from fea.memory.advice import fitting

    folder = Path(str(files("fea") / "configs")).resolve()
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    words = [[word for name in names for word in ("--config", str(shown / f"{name}.yaml"))] for names in _SHIPPED]
    return fitting({" ".join(["fea fit", *command]): _planned(command, card)[1] for command in words}, card)


def _processes(trainer: Any) -> tuple[int, str]:
    """How many processes a fit will have, and where the number is from if nobody has given it."""
    import torch

    devices, nodes, found = trainer.devices, trainer.num_nodes, torch.cuda.device_count()
    if isinstance(devices, str) and "," in devices:
        devices = [device for device in devices.split(",") if device.strip()]
    if str(devices) not in ("auto", "-1"):
        return nodes * (len(devices) if isinstance(devices, list) else int(devices)), ""
    if trainer.accelerator == "cpu" or (trainer.strategy == "auto" and not found):
        return nodes, ""
    origin = "the GPUs here" if found else f"a guess of {_A_NODE} GPUs a node"
    return nodes * (
        found or _A_NODE
    ), f" ({origin}; trainer.devices is auto, give --trainer.devices N for another number)"


def _bytes(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:GB|GiB|G)?", text)
    if not found or not float(found[1]):
        raise FEAError(f"gpu: '{text}' is no size; give one such as 24GB")
    return float(found[1]) * 2**30  # a card that is sold as 24 GB has 24 GiB
