"""`fea fit | validate | test | predict`: LightningCLI with errors that fit on a line."""

from __future__ import annotations

import difflib
import logging
import os
import re
import warnings
from collections.abc import Sequence
from typing import NoReturn

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # loader workers are forked; the tokenizer warns otherwise

import torch.distributed as dist
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from fea.data.module import FEADataModule
from fea.data.rendered import RenderedFaces  # noqa: F401
from fea.errors import FEAError
from fea.grpo import GRPOModule  # noqa: F401
from fea.module import FEAModule
from fea.sft import SFTModule  # noqa: F401


class Parser(LightningArgumentParser):
    """Reports what is wrong in one sentence, with the nearest known key."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises FEAError; parsers of nested values must raise their own error, since they are tried one after the other."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise FEAError(shortened(message, self._known_keys()))

    def _known_keys(self) -> set[str]:
        commands = self._subcommands_action._name_parser_map.values() if self._subcommands_action else []
        keys = {action.dest for parser in (self, *commands) for action in parser._actions}
        for kind in (FEAModule, FEADataModule):
            for subclass in (kind, *kind.__subclasses__()):
                keys |= set(_parameters(subclass))
        return keys


def _parameters(kind: type) -> list[str]:
    import inspect

    return [name for name in inspect.signature(kind).parameters if name != "self"]


def shortened(message: str, keys: set[str]) -> str:
    """The line of a parser's message that names the mistake, and a suggestion."""
    lines = [line.strip(" -") for line in message.splitlines() if line.strip()]
    telling = (
        "not accepted",
        "does not accept",
        "does not exist",
        "has no attribute",
        "No module",
        "Expected a",
        "is required",
    )
    found = [line for line in lines if any(words in line for words in telling) and "NoneType" not in line]
    text = "; ".join(dict.fromkeys([*lines[:1], *found[:2]])) if lines else message
    wrong = re.search(r"(?:Option '|option '|Key ')([\w.+]+)'", message)
    if not wrong:
        return text
    near = difflib.get_close_matches(wrong[1].split(".")[-1], {key.split(".")[-1] for key in keys}, 1)
    return f"{text}; did you mean '{near[0]}'?" if near else text


class CLI(LightningCLI):
    """The four trainer commands."""

    def _parse_ckpt_path(self) -> None:
        """Nothing: a checkpoint's settings must not silently win over the config."""


def run(arguments: Sequence[str]) -> LightningCLI:
    """Runs one of the four commands.

    Args:
        arguments: the command and its options.

    Raises:
        FEAError: bad input.
    """
    _quiet()
    try:
        return CLI(
            FEAModule,
            FEADataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},  # a resumed run writes into its own folder again
            parser_class=Parser,
            args=list(arguments),
        )
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()  # else a process of several may abort at exit


def _quiet() -> None:
    """Drops notes that no user of fea can act on."""
    for message in (
        ".*LeafSpec.*",
        ".*is_gradient_checkpointing.*",
        ".*LightningCLI's args parameter.*",
        ".*num_workers.*",
    ):
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("lightning.pytorch").addFilter(lambda record: "Tip:" not in record.getMessage())
