"""Stage 3 inside training: after an epoch the policy writes analyses, and the next one learns from them."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info

from fea.data.example import Example
from fea.data.mixture import Examples
from fea.data.module import FEADataModule
from fea.data.source import Source
from fea.errors import FEAError
from fea.model.sampling import Generation
from fea.synthesis.attempts import Judge, labeled
from fea.synthesis.checks import failures
from fea.synthesis.datacard import write_datacard
from fea.synthesis.journal import Journal, admitted
from fea.synthesis.recipe import Pace, Recipe
from fea.synthesis.round import distinct, expect_thinking, provenance, run, settings_of
from fea.synthesis.tried import images_of, read_tried, tried_of
from fea.system.files import common_root
from fea.training.interruption import Interruption
from fea.training.loop import whole_epochs
from fea.training.module import FEAModule


class Synthesis(Callback):
    """Writes analyses for training faces that have labels and none, with the present policy, into the run's `synthesis/`.

    In a fit of stage 1 they join the training set of the next epoch. In one of stage 2 they are replayed
    (`model.sft_weight`), and faces that were solved are drawn less often. A run that was stopped goes on where it was.

    Args:
        every: epochs between two rounds; null: one round, when training is done.
        recipe: how analyses are made, and what they have to pass.
        share: of the faces without an analysis that a round tries.
        minutes: after which a round begins no further batch; null for any time.
        weight: how often accepted analyses are drawn, relative to those of other files.
        rarer: how often stage 2 draws a face that was solved, relative to one that was not.
        temperature: of sampling.
        batch_size: faces that are written about at a time.
    """

    def __init__(
        self,
        every: int | None = 1,
        recipe: Recipe = Recipe(),  # noqa: B008 (read, never changed)
        share: float = 1.0,
        minutes: float | None = None,
        weight: float = 1.0,
        rarer: float = 0.5,
        temperature: float = 1.0,
        batch_size: int = 16,
    ):
        for name, number in {"every": every, "weight": weight, "rarer": rarer}.items():
            if number is not None and number <= 0:
                raise FEAError(f"Synthesis.{name}: {number}; give a number above 0")
        if not 0 < share <= 1:
            raise FEAError(f"Synthesis.share: {share}; give a share above 0 and up to 1")
        Generation(1, temperature)  # says what is wrong with it now, and not after an epoch
        self.pace = Pace(batch_size, minutes=minutes)
        self.every, self.recipe, self.share, self.weight = every, recipe, share, weight
        self.rarer, self.temperature = rarer, temperature
        self.judge: Judge = failures
        self.rounds, self.written = 0, list[int]()  # complete rounds, and those of them that found faces to write about
        self.solved: set[str] = set()  # file and line of faces that have an analysis now

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses a fit that would not see what is written.

        Raises:
            FEAError: there is a later epoch, and it would not load the training data again, or not know how long it is; or the
                model is not to think.
        """
        if stage == "fit":
            expect_thinking(cast(FEAModule, pl_module).config)
        if stage != "fit" or self.every is None:
            return
        last, reload = trainer.max_epochs or 0, cast(Any, trainer).reload_dataloaders_every_n_epochs
        if (last == -1 or last > self.every) and (not reload or 0 <= last <= reload):
            raise FEAError(
                "Synthesis: the trainer would never load the training data again, so no epoch would see the new analyses; set "
                "trainer.reload_dataloaders_every_n_epochs to 1"
            )
        module = cast(FEAModule, pl_module)
        if module.needs_analyses and last > self.every and trainer.max_steps == -1 and module.optimization.decays:
            raise FEAError(
                "Synthesis: the training set grows, so nobody knows at which step model.optimization.decay has to end; set "
                "trainer.max_steps, or decay: constant"
            )

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Brings back what earlier rounds have written, before the training data are loaded."""
        if trainer.state.fn == "fit":
            for round in checkpoint["callbacks"].get(self.state_key, {"written": []})["written"]:
                self._feed(trainer, round)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Moves aside what another run left in the folder, or makes up for a round that was due when this one was stopped."""
        folder = _file(trainer, 1).parent  # all processes ask for it
        if trainer.global_step == 0 and trainer.is_global_zero:
            _move_aside(folder)
        self.on_train_epoch_end(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes, if a round is due when training is done; also for a run that had nothing left to train."""
        self._write_due(trainer, pl_module, 1 if self.every is None else whole_epochs(trainer) // self.every)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes, if a round is due: after whole epochs only."""
        if self.every is not None:
            self._write_due(trainer, pl_module, whole_epochs(trainer) // self.every)

    def _write_due(self, trainer: Trainer, pl_module: LightningModule, due: int) -> None:
        if due > self.rounds:
            round = self.rounds + 1
            faces = self._faces(_data(trainer), round)
            if faces:
                self._write(trainer, cast(FEAModule, pl_module), faces, round)
                self._feed(trainer, round)
                self.written.append(round)
            else:
                rank_zero_info("synthesis: no face is left to write about")
            self.rounds = round

    def _write(self, trainer: Trainer, module: FEAModule, faces: list[Example], round: int) -> None:
        file, data = _file(trainer, round), _data(trainer)
        generation = Generation(module.generation.max_tokens, self.temperature)
        settings = settings_of(faces, self.pace.batch_size, generation, self.recipe)
        pace = replace(self.pace, workers=data.num_workers, on_bad=data.on_bad)
        earlier = [entry for number in self.written for entry in admitted(_file(trainer, number))]
        rank_zero_info(f"synthesis, round {round}: asks about {len(faces)} faces without an analysis")
        _listen(trainer)
        with module.sampling():
            origin = provenance(module.policy, self.recipe, round)
            journal = Journal(file, settings, common_root([face.image for face in faces], file.parent), origin)
            run(
                module.policy,
                faces,
                journal,
                self.recipe,
                generation,
                pace,
                earlier,
                lambda: _obey(trainer),
                self.judge,
            )
        trainer.strategy.barrier("synthesis")
        if trainer.is_global_zero:
            write_datacard(file.parent)

    def _faces(self, data: FEADataModule, round: int) -> list[Example]:
        """Of the training faces without an analysis, in random order, a share."""
        examples = Examples(data.tables["train"], analysed=False)
        left = [
            example
            for example in (examples[number] for number in range(len(examples)))
            if example.place not in self.solved and (labeled(example) or self.recipe.vote is not None)
        ]
        random.Random(f"{self.recipe.seed}/{round}").shuffle(left)
        return distinct(left[: math.ceil(self.share * len(left))])

    def _feed(self, trainer: Trainer, round: int) -> None:
        """Hands what a round has written to the data module."""
        file, data = _file(trainer, round), _data(trainer)
        if not tried_of(file).exists():
            raise FEAError(
                f"'{tried_of(file)}' is missing, and the checkpoint was written after it; go on in the folder of that run"
            )
        _, entries = read_tried(file)
        solved = {entry.place for entry in entries if entry.accepted}
        if solved:
            data.join(Source(str(file), str(images_of(file)), list(data.all_emotions), weight=self.weight))
            data.reweigh(dict.fromkeys(solved, self.rarer))
        self.solved |= solved
        share = f"{len(solved) / len(entries):.0%}" if entries else "none"
        rank_zero_info(
            f"synthesis, round {round}: {len(solved)} of {len(entries)} faces have an analysis now ({share})"
        )

    def state_dict(self) -> dict[str, Any]:
        """Rounds that are complete."""
        return {"rounds": self.rounds, "written": self.written}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on counting."""
        self.rounds, self.written = state["rounds"], state["written"]


def _file(trainer: Trainer, round: int) -> Path:
    return Path(trainer.log_dir or trainer.default_root_dir) / "synthesis" / f"round-{round}.jsonl"


def _data(trainer: Trainer) -> FEADataModule:
    return cast(FEADataModule, cast(Any, trainer).datamodule)


def _move_aside(folder: Path) -> None:
    """Gives a folder a name of its own, if it is there."""
    if folder.exists():
        folder.rename(next(name for n in itertools.count(1) if not (name := Path(f"{folder}.{n}")).exists()))


def _interruptions(trainer: Trainer) -> list[Interruption]:
    return [callback for callback in cast(Any, trainer).callbacks if isinstance(callback, Interruption)]


def _listen(trainer: Trainer) -> None:
    """Hears signals from now on: a round may be made up for before training begins."""
    for callback in _interruptions(trainer):
        callback.listen(trainer)


def _obey(trainer: Trainer) -> None:
    """Stops between two batches if the run was asked to."""
    for callback in _interruptions(trainer):
        callback.obey(trainer)
