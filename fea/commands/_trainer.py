"""LightningCLI for the four trainer commands, with errors that fit on a line, and for the settings of a plan."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, cast

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # loader workers are forked; the tokenizer warns otherwise

import torch.distributed as dist
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info

from fea.commands import _weights
from fea.commands._lightning import mistake, quiet
from fea.commands._refusals import sentence
from fea.data.module import FEADataModule
from fea.data.source import Source
from fea.drawn.module import RenderedFaces  # noqa: F401
from fea.errors import FEAError, is_out_of_memory
from fea.grpo import GRPOModule  # noqa: F401
from fea.memory.advice import verdict
from fea.memory.plan import plan
from fea.model import precision
from fea.model.archive import read
from fea.model.checkpoints import Stored
from fea.model.config import LoRA, PolicyConfig, TinySize
from fea.model.sampling import Generation
from fea.preference import EMPOModule  # noqa: F401
from fea.protocols.known import protocol_of
from fea.sft import SFTModule  # noqa: F401
from fea.system.files import Lock
from fea.system.machine import total_memory
from fea.training import logs
from fea.training.folder import RunFolder, check_resumable
from fea.training.interruption import Interruption
from fea.training.module import FEAModule
from fea.training.objective import Objective
from fea.training.optimization import Optimization
from fea.training.preferring import Preference
from fea.training.progress import ProgressLines
from fea.training.resume import RunKeeper, WholeFiles
from fea.training.tested import ProtocolScores

_MEASURING = ("validate", "test", "predict")


class Parser(LightningArgumentParser):
    """Reports what is wrong in one sentence, with the nearest known setting."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises FEAError; parsers of nested values must raise their own error, since they are tried one after the other."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise FEAError(sentence(message, self._names(), "see fea fit --help"))

    def _names(self) -> set[str]:
        commands = self._subcommands_action._name_parser_map.values() if self._subcommands_action else []
        names = {action.dest for parser in (self, *commands) for action in parser._actions}
        kinds = [kind for base in (FEAModule, FEADataModule, Callback) for kind in _family(base)]
        for kind in (*kinds, PolicyConfig, TinySize, LoRA, Generation, Objective, Optimization, Preference, Source):
            names |= {f".{name}" for name in inspect.signature(kind).parameters}
        return names


def _family(kind: type) -> list[type]:
    children: list[type] = kind.__subclasses__()
    return [kind, *(inner for child in children for inner in _family(child))]


class CLI(LightningCLI):
    """The four trainer commands."""

    lock: Lock | None = None  # on the folder of a fit

    def _parse_ckpt_path(self) -> None:
        """Nothing: a checkpoint's settings must not silently win over the config."""

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Adds what `fit` has and the trainer has not."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "fit":
            told = "Go on from the newest checkpoint in the folder of the run; start if there is none."
            parser.add_argument("--resume", action="store_true", help=told)
            told = "Give the folder another name if it holds a run, and start."
            parser.add_argument("--overwrite", action="store_true", help=told)
        if subcommand == "test":
            told = "Score by a protocol, such as disfa-8, and write metrics.json and predictions.jsonl."
            parser.add_argument("--protocol", type=str, default=None, help=told)
            told = "With a protocol: sample so many answers about each face, too, and tell which share agrees."
            parser.add_argument("--samples", type=int, default=0, help=told)
        return parser

    def before_instantiate_classes(self) -> None:
        """Looks at precision and checkpoint before anything is built: the trainer would do so late, and refuse at length."""
        settings = self.config[self.subcommand]
        precision.check(settings.trainer.precision)
        if settings.ckpt_path and settings.get("resume"):
            raise FEAError("resume: it looks for the newest checkpoint by itself; give either --resume or --ckpt_path")
        if settings.get("overwrite") and settings.resume:
            raise FEAError("overwrite: it moves the run aside that --resume goes on with; give one of them")
        if not settings.ckpt_path and self.subcommand != "fit":
            raise _weights.refusal(str(self.subcommand), settings.get("model.init_args.init_from"))
        words = _weights.WORDS if self.subcommand == "fit" else (*_weights.WORDS, _weights.START)
        if settings.ckpt_path and settings.ckpt_path not in words:
            Stored.of(read(Path(settings.ckpt_path)), settings.ckpt_path)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer that writes its checkpoints whole, on a device that can compute in its precision."""
        trainer = super().instantiate_trainer(**kwargs)
        precision.check(trainer.precision, trainer.strategy.root_device)
        trainer.strategy.checkpoint_io = WholeFiles()
        return trainer

    def fit(self, **options: Any) -> None:
        """Trains.

        Raises:
            FEAError: memory ran out; with what to change.
        """
        try:
            self.trainer.fit(**options)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise FEAError(
                f"out of memory at step {self.trainer.global_step}; {self._remedy()}; checkpoints are whole: go on with "
                "--resume"
            ) from error
        finally:
            if self.lock:
                self.lock.close()

    def _remedy(self) -> str:
        """What would need less memory: by the plan, or where none can be made, what helps whatever the model."""
        setting = self.model.own_setting()
        try:
            return f"by the plan this run {verdict(setting, plan(setting), total_memory())}"
        except FEAError:
            return (
                "raise model.microbatches or trainer.accumulate_grad_batches, or set model.policy.checkpointing or "
                "model.policy.four_bit to true"
            )

    def before_fit(self) -> None:
        """Sees that the folder of the run is free, and finds the checkpoint that a resumed run goes on from."""
        settings, folder = self.config_init[self.subcommand], self._folder
        _weights.check_fold(self.model.init_from, self.datamodule.fold)
        if cast(Any, self.trainer).fast_dev_run:  # nothing is written
            return
        logs.check_folder(self.trainer.loggers)
        found = _weights.named(settings.ckpt_path, folder) if settings.ckpt_path else None
        if settings.resume:
            found = folder.newest()
            told = f"from {found}" if found else f"'{folder.path}' holds no checkpoint yet; starting"
            rank_zero_info(f"resume: {told}")
        if found:
            check_resumable(found)
        if not settings.overwrite:
            folder.check(settings.resume, found)
        if self.trainer.is_global_zero:
            if settings.overwrite:
                given = self.config[self.subcommand]
                read_by = [str(found), *_strings([given.model, given.data])]
                folder.move_aside([Path(text) for text in read_by if os.path.exists(text)])
            self.lock = folder.claim()
        settings["ckpt_path"] = found and str(found)
        for keeper in (each for each in cast(Any, self.trainer).callbacks if isinstance(each, RunKeeper)):
            keeper.begin(self.trainer, found)

    def before_test(self) -> None:
        """Finds the checkpoint, and says which weights are measured."""
        settings = self.config_init[self.subcommand]
        found = None if settings.ckpt_path == _weights.START else _weights.named(settings.ckpt_path, self._folder)
        settings["ckpt_path"] = found and str(found)
        rank_zero_info(_weights.told(found, self.model))
        logs.begin(self.trainer, None, f"metrics.{self.subcommand}.csv")  # a fit may be under way, with metrics.csv
        if name := settings.get("protocol"):
            judge = ProtocolScores(protocol_of(name), _weights.facts(found, self.model), settings["samples"])
            cast(Any, self.trainer).callbacks.append(judge)
            settings["verbose"] = False  # the trainer's table of a hundred rows would push away that of the protocol
        elif settings.get("samples"):
            raise FEAError("samples: votes are told by a protocol's report; name one, such as --protocol facial-r1")

    before_validate = before_predict = before_test

    @property
    def _folder(self) -> RunFolder:
        """The folder of the run, with those that its settings name for checkpoints."""
        savers = [saver for saver in self.trainer.checkpoint_callbacks if isinstance(saver, ModelCheckpoint)]
        others = [Path(saver.dirpath) for saver in savers if saver.dirpath]
        return RunFolder(Path(self.trainer.log_dir or self.trainer.default_root_dir), others)


def _strings(settings: Any) -> Iterator[str]:
    """All texts in a setting."""
    inner = vars(settings) if isinstance(settings, Namespace) else settings
    if isinstance(inner, str):
        yield inner
    elif isinstance(inner, list | dict):
        for value in inner.values() if isinstance(inner, dict) else inner:
            yield from _strings(value)


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
        """Trains nothing."""


def run(arguments: Sequence[str], kind: type[CLI] = CLI) -> CLI:
    """Runs one of the four commands.

    Args:
        arguments: the command and its options.
        kind: what runs it.

    Raises:
        FEAError: bad input.
    """
    measuring = arguments[0] in _MEASURING
    quiet(measuring)
    try:
        with TemporaryDirectory() if measuring else nullcontext("") as folder:
            return kind(
                FEAModule,
                FEADataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                seed_everything_default=0,
                save_config_callback=RunKeeper,
                trainer_defaults={"callbacks": [Interruption(), ProgressLines()]},
                parser_class=Parser,
                parser_kwargs={"allow_abbrev": False},
                args=_weights.expanded(arguments, Path(folder)) if measuring else list(arguments),
            )
    except FEAError:
        raise
    except (ValueError, MisconfigurationException) as error:
        what = mistake(error, __name__)
        if not what:
            raise
        raise FEAError(what) from error
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()  # else a process of several may abort at exit
