"""How a run goes on: what it keeps in its folder, and what is put back after a stop or a kill.

Settings and data of the checkpoint are compared with those of now, and weights, optimizer, rollout, loaders, loops and random
numbers stand where they stood.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as L
import torch
import yaml  # type: ignore[import-untyped]
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_info

from fea.data.identity import changed, identity
from fea.errors import FEAError
from fea.evaluation.counts import SCORED
from fea.model import runs
from fea.model.archive import opened, read
from fea.system import randomness
from fea.system.files import whole, write_atomically
from fea.system.processes import gathered
from fea.training import logs, loop
from fea.training.renamed import flat, translated
from fea.training.stopping import stay_stopped, stopped

# Settings that say where in the data and inside a rollout a checkpoint stands: with others it would stand somewhere else.
_PLACE = {
    "model.init_args": ("group_size", "mu", "minibatches", "seed", "policy.answers"),
    "data.init_args": ("examples", "batch_size", "balance", "balance_power", "mirror", "seed", "text", "fold"),
    "trainer": ("accumulate_grad_batches", "processes"),
}
_SHARES = "model.init_args.policy.answers"  # one setting, whatever names are in it
_SCORE = "val/score"  # by which the best checkpoint is chosen
# What a fit is asked to do once. It does not stay in a config, which may be read for another fit.
_ONCE: dict[str, Any] = {"ckpt_path": None, "resume": False, "overwrite": False}


class RunKeeper(SaveConfigCallback):
    """Keeps with a fit which run it is, its settings and its data, and the logs as far as its checkpoints go."""

    goes_on: Path | None = None  # the checkpoint that the fit begins with
    resumed: dict[str, Any] | None = None
    run: str | None = None
    validated = 0  # optimizer steps at the latest validation

    def begin(self, trainer: L.Trainer, checkpoint: Path | None) -> None:
        """Remembers the checkpoint that a fit goes on from, and keeps what was logged up to there."""
        self.goes_on = checkpoint
        logs.begin(trainer, opened(checkpoint).get("rows") if checkpoint else [])

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Writes `config.yaml` and `run.json`."""
        if stage == "fit":
            folder = Path(trainer.log_dir or trainer.default_root_dir)
            self.run = cast(Any, trainer.strategy).broadcast(self._identity(folder))
            tables = cast(Any, trainer).datamodule.tables
            self.data = {name: identity(tables[name]) for name in ("train", "val")}
            if trainer.is_global_zero:
                write_atomically(folder / self.config_filename, self._dumped().encode())
                if self.run:
                    runs.mark(folder, self.run)

    def _identity(self, folder: Path) -> str | None:
        """That of the run which goes on, or a new one; runs of earlier releases have none and get none."""
        if self.goes_on:
            return cast("str | None", opened(self.goes_on).get("run"))
        return (self.config.get("resume") and runs.identity(folder)) or runs.new_identity()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the settings and the random numbers; what was logged up to here is written, since a resumed run goes on here."""
        checkpoint["run"] = self.run
        checkpoint["settings"] = self._settings(trainer)
        checkpoint["data"] = self.data
        checkpoint["scored"] = list(SCORED)
        checkpoint["random"] = gathered(randomness.state())
        checkpoint["validated"] = self.validated
        checkpoint["unlogged"] = loop.unlogged(trainer)
        for logger in trainer.loggers:
            logger.save()
        checkpoint["rows"] = logs.counts(trainer.loggers)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Compares settings and data.

        Raises:
            FEAError: with those of now the checkpoint would stand somewhere else in the data, or in other data.
        """
        _follow(trainer, checkpoint.get("callbacks", {}))
        if trainer.state.fn == "fit" and checkpoint.get("scored") != list(SCORED):
            _rank_anew(trainer, checkpoint.get("callbacks", {}))
        if trainer.state.fn == "fit":
            stay_stopped(trainer, checkpoint.get("callbacks", {}))
        if trainer.state.fn == "fit" and "settings" in checkpoint:
            told = _compared(translated(checkpoint["settings"]), self._settings(trainer))
            if told:
                rank_zero_info(f"resumed with other settings: {'; '.join(told)}")
            if "data" in checkpoint:
                _compare_data(checkpoint["data"], self.data)
            self.resumed, self.validated = checkpoint, checkpoint["validated"]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remembers that the present step has been validated; saves if the run stops here, before its epoch counts as whole."""
        self.validated = trainer.global_step
        if trainer.state.fn == "fit" and not self.resumed and stopped(trainer):
            folder = Path(trainer.log_dir or trainer.default_root_dir)
            trainer.save_checkpoint(folder / runs.CHECKPOINTS / "last.ckpt", weights_only=False)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs and validates what the checkpoint came before, and puts the random numbers where they were."""
        if self.resumed is None:
            return
        loop.log(trainer, self.resumed.get("unlogged", {}))  # earlier releases did not keep them
        if loop.validation_due(trainer) and self.validated != trainer.global_step:
            loop.validate(trainer)
        loop.find_place(trainer)
        randomness.restore(self.resumed["random"][trainer.global_rank])
        self.resumed = None

    def _dumped(self) -> str:
        config = self.config.clone()
        for name, value in _ONCE.items():
            config[name] = value
        return str(self.parser.dump(config, skip_none=False))

    def _settings(self, trainer: L.Trainer) -> dict[str, Any]:
        settings = dict(flat(yaml.safe_load(self._dumped())))
        examples = sum(map(len, cast(Any, trainer).datamodule.tables["train"]))
        return {**settings, "trainer.processes": trainer.world_size, "data.init_args.examples": examples}


def _compared(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs, as "name: then -> now"."""
    then, now = _with_shares(then), _with_shares(now)
    differing = sorted(name for name in then.keys() - {"config", *_ONCE} if not _alike(then[name], now.get(name)))
    for place, names in _PLACE.items():
        for name in names:
            setting = f"{place}.{name}"
            if setting in differing:
                raise FEAError(
                    f"{setting.replace('.init_args', '')}: the checkpoint was written with {then.get(setting)}, and with "
                    f"{now.get(setting)} it would stand elsewhere in the data; use {then.get(setting)}, or start from its "
                    "weights with model.init_from"
                )
    return [f"{name}: {then.get(name)} -> {now.get(name)}" for name in differing]


def _with_shares(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the shares of forms as one text; None without any."""
    inner = {name.rpartition(".")[2]: value for name, value in settings.items() if name.startswith(f"{_SHARES}.")}
    kept = {name: value for name, value in settings.items() if not name.startswith(_SHARES)}
    return kept | {_SHARES: ", ".join(f"{name}: {float(inner[name]):g}" for name in sorted(inner)) or None}


def _alike(then: Any, now: Any) -> bool:
    """Whether values are the same; settings that an earlier release did not have are left aside."""
    if isinstance(then, dict) and isinstance(now, dict):
        return all(_alike(value, now.get(name)) for name, value in then.items())
    if isinstance(then, list) and isinstance(now, list):
        return len(then) == len(now) and all(map(_alike, then, now))
    return bool(then == now)


def _compare_data(then: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> None:
    """Refuses to train on with other data; other faces to validate on are told, since a best score may be one of theirs."""
    if told := changed(then["train"], now["train"]):
        raise FEAError(
            f"data.train: it {told} than when the checkpoint was written; give the data of then, or start from its weights "
            "with model.init_from"
        )
    if told := changed(then["val"], now["val"]):
        rank_zero_info(f"data.val: it {told} than before; its scores do not compare with earlier ones")


def _follow(trainer: L.Trainer, states: dict[str, dict[str, Any]]) -> None:
    """Lets a run that has been moved find its best checkpoint; else the trainer would let the next one take its place.

    Args:
        trainer: whose checkpoint callbacks look for it.
        states: those of its callbacks in a checkpoint, which are changed.
    """
    place = Path(str(trainer.ckpt_path)).parent.resolve()
    for callback in (saver for saver in trainer.checkpoint_callbacks if isinstance(saver, ModelCheckpoint)):
        state, here = states.get(callback.state_key, {}), str(callback.dirpath)
        before = state.get("dirpath", here)
        if before != here and Path(here).resolve() == place:
            state.update({key: _moved(value, before, here) for key, value in state.items()})


def _rank_anew(trainer: L.Trainer, states: dict[str, dict[str, Any]]) -> None:
    """Lets the next validation be the best one so far: earlier releases scored by the mean of `au_f1` and accuracy.

    That is the higher number where emotions are uneven, so that their best checkpoint would stay the best one.

    Args:
        trainer: whose callbacks save, or stop, by `val/score`.
        states: those of its callbacks in a checkpoint, which are changed.
    """
    for callback in cast(Any, trainer).callbacks:
        state = states.get(callback.state_key, {})
        if getattr(callback, "monitor", None) != _SCORE:
            continue
        worst = torch.tensor(math.inf if callback.mode == "min" else -math.inf)
        state.update({name: worst for name in ("best_model_score", "kth_value", "best_score") if name in state})
        if state.get("best_k_models"):
            state["best_k_models"] = dict.fromkeys(state["best_k_models"], worst)
            rank_zero_info(
                f"{_SCORE} is the mean of {' and '.join(SCORED)} now, and was another number when the checkpoint was written: "
                f"the next validation takes the place of '{state['best_model_path']}'"
            )


def _moved(value: Any, before: str, here: str) -> Any:
    if isinstance(value, dict):
        return {_moved(key, before, here): inner for key, inner in value.items()}
    return here + value.removeprefix(before) if isinstance(value, str) and value.startswith(before) else value


class WholeFiles(TorchCheckpointIO):
    """How the trainer writes and reads checkpoints."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint that takes its place when it is complete.

        Raises:
            FEAError: there is no room, or no permission; what stood there before still does.
        """
        try:
            with whole(Path(path)) as stream:
                torch.save(checkpoint, stream)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as the latter
            why = error.strerror if isinstance(error, OSError) else "the disk may be full"
            raise FEAError(
                f"checkpoint '{path}' cannot be written ({why}); earlier ones are whole: make room, and go on with --resume"
            ) from error

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Reads a checkpoint, as `read`."""
        return read(Path(path), mapped=False)
