"""`fea plan`: the memory that a fit will need, from its configs alone."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from fea.commands.fit import CLI, run
from fea.errors import FEAError
from fea.memory.advice import table, verdict
from fea.memory.plan import GIB, plan


class Planner(CLI):
    """Reads the settings of a fit and goes no further."""

    def instantiate_classes(self) -> None:
        """Builds no trainer: the machine that the settings are meant for may be another."""
        settings = self.config[self.subcommand]
        settings.trainer.callbacks = settings.trainer.logger = None
        parser: Any = self._parser(self.subcommand)
        build = getattr(parser, "instantiate", None) or parser.instantiate_classes  # its name until jsonargparse 4.48
        self.config_init = build(settings)
        self.model, self.datamodule = self.config_init.model, self.config_init.data

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing."""


def plan_memory(arguments: Sequence[str]) -> str:
    """The memory that a fit will need.

    Args:
        arguments: those of the fit; with `--gpu 24GB`, what to change if it does not fit there.

    Raises:
        FEAError: bad input.
    """
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    own.add_argument("--gpu", nargs="?", const="")
    known, rest = own.parse_known_args(list(arguments))
    card = None if known.gpu is None else _bytes(known.gpu)
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
    return float(found[1]) * GIB
