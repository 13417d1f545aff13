"""The folder that a fit writes into: whose it is, what it goes on from, and that nothing in it is lost.

A folder with the results of a run belongs to that run. Another fit is refused there before it begins. One run at a time writes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from fea.errors import FEAError
from fea.model.archive import opened, read
from fea.model.checkpoints import Stored
from fea.model.runs import CHECKPOINTS, RUN, belongs, identity
from fea.system.files import PART, Lock, lock, try_place

CONFIG = "config.yaml"
_WRITTEN = b"# lightning.pytorch=="  # begins every config that a fit has written
_OWN = "give this fit a folder of its own with --trainer.logger.init_args.name"
# What a fit cannot go on without; a file that was saved with weights alone lacks it.
_STATE = {"global_step", "epoch", "loops", "optimizer_states", "lr_schedulers"}


class RunFolder:
    """Where a fit writes.

    Args:
        path: folder of the run.
        others: folders that it puts checkpoints into beside its own, such as the `dirpath` of a ModelCheckpoint.
    """

    def __init__(self, path: Path, others: Sequence[Path] = ()):
        self.path = path
        self.places = [path / CHECKPOINTS, *others]

    def checkpoints(self) -> list[Path]:
        """All checkpoints that are there, whosever they are."""
        return sorted({file for place in self.places for file in place.glob("*.ckpt")})

    def check(self, resume: bool, checkpoint: Path | None = None) -> None:
        """Refuses to begin where another run has been, or something that no run has written.

        Args:
            resume: whether the run that is there goes on from its newest checkpoint.
            checkpoint: that it goes on from instead.

        Raises:
            FEAError: with the ways out.
        """
        config = self.path / CONFIG
        if config.is_file() and not (self.path / RUN).exists() and not config.read_bytes().startswith(_WRITTEN):
            raise FEAError(f"'{config}' was not written by a fit and would be overwritten; {_OWN}")
        results = [*self.checkpoints(), *(self.path / "synthesis").glob("*.jsonl")]
        if results and not resume and not (checkpoint and self._own(checkpoint)):
            raise FEAError(
                f"'{self.path}' holds the results of a run ('{results[0]}'); go on with it by --resume, {_OWN}, or move the "
                "old one aside with --overwrite"
            )

    def _own(self, checkpoint: Path) -> bool:
        """Whether a checkpoint is one of the run that is here, wherever a copy of it may lie."""
        inside = checkpoint.resolve().parent in [place.resolve() for place in self.places]
        run = opened(checkpoint).get("run")
        return belongs(checkpoint, self.path) if inside else run is not None and run == identity(self.path)

    def newest(self) -> Path | None:
        """The checkpoint of this run with the most optimizer steps; those that cannot be read are passed over.

        Returns:
            None if there is no checkpoint at all.

        Raises:
            FEAError: none of those that are there is one of this run, and whole.
        """
        found, passed = [], []
        for file in self.checkpoints():
            try:
                checkpoint = _resumable(file)
                if not belongs(file, self.path):
                    raise FEAError(f"checkpoint '{file}' is one of another run ({checkpoint.get('run')})")
                found.append((checkpoint["global_step"], file.stat().st_mtime_ns, file))
            except FEAError as error:
                passed.append(str(error))
        for *_, file in sorted(found, reverse=True):
            try:
                Stored.of(read(file), file)
            except FEAError as error:
                passed.append(str(error))
            else:
                for told in passed:
                    rank_zero_warn(f"passed over: {told}")
                return file
        if passed:
            raise FEAError(
                f"resume: '{self.path}' holds no checkpoint to go on from ({passed[0]}); restore one, or move all that is "
                "there aside with --overwrite"
            )
        return None

    def claim(self) -> Lock:
        """Keeps other runs out until the lock that it returns is closed, or until this process ends.

        Raises:
            FEAError: another run is there.
            OSError: nothing can be written there.
        """
        try_place(self.path / CONFIG)
        held = lock(self.path / ".lock")
        if held is None:
            raise FEAError(f"another run is writing into '{self.path}'; wait for its end, or {_OWN}")
        for unfinished in self.path.glob(f"{CHECKPOINTS}/.*{PART}"):
            unfinished.unlink()
        return held

    def move_aside(self, needed: Sequence[Path]) -> None:
        """Gives the folder another name, if there is a run in it; nothing is deleted.

        Args:
            needed: files and folders that the fit at hand reads.

        Raises:
            FEAError: it cannot be moved, or must not be.
        """
        if not (self.checkpoints() or any((self.path / name).exists() for name in (CONFIG, RUN, "synthesis"))):
            return
        here = self.path.resolve()
        self._refuse_to_move(here, [path.resolve() for path in needed])
        target = next(name for n in count(1) if not os.path.lexists(name := f"{self.path}.old-{n}"))
        try:
            os.rename(self.path, target)  # of a link, its own name
        except OSError as error:
            raise FEAError(f"--overwrite: '{self.path}' cannot be moved aside ({error.strerror}); {_OWN}") from error
        rank_zero_info(f"overwrite: what was in '{self.path}' is in '{target}' now")

    def _refuse_to_move(self, here: Path, needed: Sequence[Path]) -> None:
        if Path.cwd().is_relative_to(here):
            raise FEAError(f"--overwrite: the working directory lies in '{self.path}', which is not moved; {_OWN}")
        for file in self.checkpoints():
            if not file.resolve().is_relative_to(here):
                raise FEAError(
                    f"--overwrite: '{file}' does not lie in '{self.path}'; give ModelCheckpoint another dirpath"
                )
        for path in needed:
            if path.is_relative_to(here):
                raise FEAError(f"--overwrite: this fit reads '{path}', which would be moved aside; {_OWN}")
        for held in here.rglob(".lock"):
            own = lock(held)
            if own is None:
                raise FEAError(f"--overwrite: a run is writing into '{held.parent}'; wait for its end, or {_OWN}")
            own.close()


def _resumable(file: Path) -> dict[str, Any]:
    checkpoint = opened(file)
    if missing := sorted(_STATE - checkpoint.keys()):
        raise FEAError(
            f"checkpoint '{file}' cannot be gone on from: it holds weights without '{missing[0]}'; name it as model.init_from"
        )
    return checkpoint


def check_resumable(file: Path) -> None:
    """Refuses a checkpoint that a fit cannot go on from.

    Raises:
        FEAError: it is damaged, or holds weights alone.
    """
    Stored.of(read(file), file)
    _resumable(file)
