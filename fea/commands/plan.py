"""`fea plan`: the memory that a fit will need, from its configs alone."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from fea.commands._renamed import refuse_renamed
from fea.commands.fit import SETTINGS, asks_for_help, opening
from fea.errors import FEAError

_A_NODE = 8  # GPUs of a usual machine with several, for a plan on one without
_OPTIONS = """\
options
  --gpu SIZE            memory of the card, such as 24GB: what to change if the fit needs more
  --config FILE         settings of the fit; any number of files, later ones overlay earlier ones"""


def plan_memory(arguments: Sequence[str]) -> str:
    """Plans the memory that a fit will need.

        fea plan --config configs/grpo.yaml --gpu 24GB
        fea plan --config configs/grpo.yaml --config configs/7b.yaml --data.batch_size 4

    It needs no GPU and no weights: the update runs dry, on tensors without content, and their bytes are counted.

    Args:
        arguments: those of the fit; with `--gpu 24GB`, what to change if it does not fit there.

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
    refuse_renamed(rest)
    from fea.commands._trainer import Planner, run
    from fea.memory.advice import table, verdict
    from fea.memory.plan import plan, settled
    from fea.memory.setting import Spread

    cli = run(["fit", *rest], Planner)
    trainer = cli.config_init.trainer
    processes, told = _processes(trainer)
    spread = Spread.of(trainer.strategy, processes)
    setting = settled(cli.model.memory_setting(cli.datamodule, trainer, spread), card)
    needs = plan(setting)
    shares = "share its weights" if spread.sharded else "have all of it"
    told = f", for each of {processes} processes that {shares}{told}" if processes > 1 else ""
    lines = [f"memory plan of {setting.policy.base}{told}", table(needs)]
    return "\n".join([*lines, verdict(setting, needs, card)] if card else lines)


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
