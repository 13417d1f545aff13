"""`fea plan`: the memory that a fit will need, from its configs alone."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from fea.commands._renamed import refuse_renamed
from fea.commands.fit import SETTINGS, asks_for_help, opening
from fea.errors import FEAError

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
    from fea.memory.plan import plan

    cli = run(["fit", *rest], Planner)
    trainer = cli.config[cli.subcommand].trainer
    setting = cli.model.memory_setting(
        cli.datamodule.batch_size, trainer.accumulate_grad_batches, str(trainer.precision)
    )
    needs = plan(setting)
    lines = [f"memory plan of {setting.policy.base}", table(needs)]
    return "\n".join([*lines, verdict(setting, needs, card)] if card else lines)


def _bytes(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:GB|GiB|G)?", text)
    if not found or not float(found[1]):
        raise FEAError(f"gpu: '{text}' is no size; give one such as 24GB")
    return float(found[1]) * 2**30  # a card that is sold as 24 GB has 24 GiB
