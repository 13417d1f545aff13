"""The stages that made a policy, as the checkpoints of its run and of the runs before it tell them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fea.model.archive import opened
from fea.model.checkpoints import Stored
from fea.model.runs import find, folder_of


class Stage(NamedTuple):
    """One fit.

    Attributes:
        module: class that trained, such as "SFTModule".
        steps: of the optimizer, up to the checkpoint.
        seed: of the run; None if the checkpoint does not say.
        hardware: accelerator, processes and precision.
        data: by "train" and "val", what was read there: files without their folders, faces, fingerprint.
    """

    module: str
    steps: int
    seed: Any
    hardware: str
    data: Mapping[str, str]


def stages_of(run: str) -> list[Stage]:
    """The stages in their order, the run's own last; those of runs that are not there any more are left out.

    Raises:
        FEAError: a checkpoint cannot be read.
    """
    found: list[Stage] = []
    while run:
        file = find(run)
        content = opened(file)
        told = Stored.of(content, file).seen_from(folder_of(file))
        found.insert(0, _stage(content, told))
        there = told.init_from and Path(told.init_from).exists()
        run = str(told.init_from) if there else ""
    return found


def _stage(content: Mapping[str, Any], told: Stored) -> Stage:
    settings: Mapping[str, Any] = content.get("settings", {})
    accelerator = settings.get("trainer.accelerator", "an accelerator that is not recorded")
    processes = settings.get("trainer.processes", 1)
    return Stage(
        module=told.stage,
        steps=int(content.get("global_step", 0)),
        seed=settings.get("seed_everything"),
        hardware=f"{accelerator}, {processes} process{'es' if processes != 1 else ''}, {told.precision}",
        data={name: ", ".join(_data(name, settings, content)) for name in ("train", "val")},
    )


def _data(name: str, settings: Mapping[str, Any], content: Mapping[str, Any]) -> Iterator[str]:
    given = {key.removeprefix("data.init_args."): value for key, value in settings.items()}
    if drawn := given.get(f"{name}_faces"):
        yield f"{drawn} drawn faces"
    for entry in given.get(name) or []:
        file = entry["file"] if isinstance(entry, dict) else str(entry)
        yield f"`{Path(file.replace(chr(92), '/')).name}`"  # without folders, of whatever system
    if found := content.get("data", {}).get(name):
        lines, _, digest = found["faces"].partition("-")
        yield f"{lines} usable lines in all, fingerprint {digest}"
