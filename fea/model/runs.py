"""The folder of a run: which run it holds, its checkpoint, and what it needs from elsewhere.

A run is told from others by a name that is made when it begins. It stands in its folder and in each of its checkpoints, and
goes along with copies. Runs of earlier releases have none.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from fea.errors import FEAError
from fea.model.archive import opened
from fea.system.files import write_atomically

RESULT = "RESULT"  # a file in a folder of runs: the name of the run that holds the outcome
RUN = "run.json"  # a file in the folder of a run: which one it is
CHECKPOINTS = "checkpoints"  # the folder of them in that of a run


def new_identity() -> str:
    """When a run begins, to the second, and eight digits that no other run has."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"


def identity(folder: Path) -> str | None:
    """Which run a folder holds; None if it does not say.

    Raises:
        FEAError: the file that says so is damaged.
    """
    file = folder / RUN
    if not file.is_file():
        return None
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["run"])
    except (ValueError, KeyError, TypeError) as error:
        raise FEAError(
            f"'{file}' does not say which run the folder holds; restore it, or remove it: then all checkpoints there count"
        ) from error


def mark(folder: Path, run: str) -> None:
    """Writes down which run a folder holds."""
    write_atomically(folder / RUN, (json.dumps({"run": run}) + "\n").encode())


def folder_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint lies in."""
    parent = checkpoint.parent.resolve()
    return parent.parent if parent.name == CHECKPOINTS else parent


def belongs(checkpoint: Path, folder: Path) -> bool:
    """Whether a checkpoint is one of the run that a folder holds; all are, where the folder does not say which that is."""
    own = identity(folder)
    return own is None or opened(checkpoint).get("run") == own


def find(run: str) -> Path:
    """The checkpoint of a run: its best, else its last.

    Args:
        run: folder of a run, folder of runs with a RESULT file, or a checkpoint file.

    Raises:
        FEAError: there is none, or none of this run.
    """
    path = Path(run)
    if (path / RESULT).is_file():
        path /= (path / RESULT).read_text(encoding="utf-8").strip()
    if path.is_file():
        return path
    there = [file for name in ("best", "last") if (file := path / CHECKPOINTS / f"{name}.ckpt").is_file()]
    for file in there:
        if belongs(file, path):
            return file
    if there:
        raise FEAError(
            f"'{run}' holds no checkpoint of its own run ({identity(path)}): '{there[0]}' is one of another; name a .ckpt file"
        )
    if (path / "config.json").is_file():
        raise FEAError(
            f"'{run}' is a whole model and no run: a fit starts from it with --model.policy.base {run}, and --model {run} "
            "measures it"
        )
    within = [f"'{path / found.parent.name}'" for found in sorted(path.glob(f"*/{CHECKPOINTS}"))]
    what = f", but there are runs within it, {', '.join(within[:5])}" if within else ""
    what = what if path.exists() else ": it is not there"
    raise FEAError(
        f"'{run}' holds no checkpoint{what}; name the folder of a finished run (with checkpoints/ in it) or a .ckpt file"
    )


# --- what a run needs from elsewhere ---


def absolute(name: str) -> str:
    """A path that can be read from any working directory; names of the hub stay as they are."""
    return str(Path(name).resolve()) if name != "tiny" and Path(name).exists() else name


def beside(folder: Path, name: str | None) -> str:
    """Where something lies as seen from a run, so that both can be moved together; "" for what is no path."""
    if name is not None and Path(absolute(name)).is_absolute():
        with suppress(ValueError):  # on Windows, if it lies on another drive
            return os.path.relpath(absolute(name), folder.resolve())
    return ""


def found(given: str, near: str, folder: Path) -> str:
    """Where something is now: as seen from the run, if it is there, else where it was when the run was made."""
    here = folder / near
    return str(here.resolve()) if near and here.exists() else given
