"""How a run goes on: what it keeps in its folder, and what is put back after a stop or a kill.

The newest checkpoint that is whole is found, its settings are compared with those of now, and weights, optimizer, rollout,
loaders, loops and random numbers stand where they stood. One run at a time writes into a folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as L
import torch
import yaml  # type: ignore[import-untyped]
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from fea.errors import FEAError
from fea.model import checkpoints
from fea.model.checkpoints import read
from fea.system import randomness
from fea.system.files import PART, Lock, lock, whole, write_atomically
from fea.system.processes import gathered
from fea.training import loop
from fea.training.renamed import translated

# Settings that say where in the data and inside a rollout a checkpoint stands: with others it would stand somewhere else.
_PLACE = {
    "model.init_args": ("group_size", "mu", "minibatches", "seed"),
    "data.init_args": ("examples", "batch_size", "balance", "mirror", "seed", "text"),
    "trainer": ("accumulate_grad_batches", "processes"),
}
_OF_NO_MATTER = ("config", "ckpt_path", "resume")


def claim(folder: Path) -> Lock:
    """Keeps other runs out of a folder until the lock that it returns is closed, or until this process ends.

    Raises:
        FEAError: another run is there.
    """
    held = lock(folder / ".lock")
    if held is None:
        raise FEAError(
            f"another run is writing into '{folder}'; wait for its end, or give this one a name of its own with "
            "--trainer.logger.init_args.name"
        )
    for unfinished in folder.glob(f"checkpoints/.*{PART}"):
        unfinished.unlink()
    return held


def newest(folder: Path) -> Path | None:
    """The checkpoint of a run with the most optimizer steps; those that cannot be read are passed over."""
    found = []
    for file in sorted(folder.glob("checkpoints/*.ckpt")):
        try:
            found.append((checkpoints.read(file)["global_step"], file.stat().st_mtime_ns, file))
        except FEAError as error:
            rank_zero_warn(str(error))
    return max(found)[-1] if found else None


class RunKeeper(SaveConfigCallback):
    """Claims the folder of a fit, writes its settings there and into its checkpoints, and keeps the logs as far as these go."""

    resumed: dict[str, Any] | None = None
    validated = 0  # optimizer steps at the latest validation

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Claims the folder and writes `config.yaml`."""
        folder = trainer.log_dir
        if stage == "fit" and folder and trainer.is_global_zero:
            self.lock = claim(Path(folder))
            write_atomically(Path(folder) / self.config_filename, self._dumped().encode())

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Gives the folder free for the next run."""
        if hasattr(self, "lock"):
            self.lock.close()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the settings and the random numbers; what was logged up to here is written, since a resumed run goes on here."""
        checkpoint["settings"] = self._settings(trainer)
        checkpoint["random"] = gathered(randomness.state())
        checkpoint["validated"] = self.validated
        for logger in trainer.loggers:
            logger.save()

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Compares the settings.

        Raises:
            FEAError: with those of now the checkpoint would stand somewhere else in the data.
        """
        if trainer.state.fn == "fit" and "settings" in checkpoint:
            told = _compared(translated(checkpoint["settings"]), self._settings(trainer))
            if told:
                rank_zero_info(f"resumed with other settings: {'; '.join(told)}")
            self.resumed, self.validated = checkpoint, checkpoint["validated"]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remembers that the present step has been validated."""
        self.validated = trainer.global_step

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Makes up for a validation that the checkpoint came before, and puts the random numbers where they were."""
        if self.resumed is None:
            return
        if loop.validation_due(trainer) and self.validated != trainer.global_step:
            loop.validate(trainer)
        loop.find_place(trainer)
        randomness.restore(self.resumed["random"][trainer.global_rank])
        self.resumed = None

    def _dumped(self) -> str:
        return str(self.parser.dump(self.config, skip_none=False))

    def _settings(self, trainer: L.Trainer) -> dict[str, Any]:
        settings = dict(_flat(yaml.safe_load(self._dumped())))
        examples = sum(map(len, cast(Any, trainer).datamodule.tables["train"]))
        return {**settings, "trainer.processes": trainer.world_size, "data.init_args.examples": examples}


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif f"{prefix}{key}" not in _OF_NO_MATTER:
            yield f"{prefix}{key}", value


def _compared(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs, as "name: then -> now"."""
    differing = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
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
