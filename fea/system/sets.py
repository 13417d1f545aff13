"""Files that belong together, such as images and their labels: all of them are there, or none."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from fea.errors import FEAError
from fea.system.files import PART, keep_names, naming, try_place

_MOVING = f".moving{PART}"  # ends the name of a folder that is complete, and from which files are being moved


@contextmanager
def together(folder: Path, index: str) -> Iterator[Path]:
    """Lets files be written into a hidden folder, and puts them into the right one when the block ends.

    A folder that is not there yet appears with all of them. Into one that is, they are moved one after the other, and meanwhile
    there is no file `index`, without which the others count for nothing. If the block fails, all stays as it was.

    Args:
        folder: receives the files.
        index: name of the file that is read first, such as that with the labels.

    Yields:
        The hidden folder, which is empty.

    Raises:
        OSError: a file cannot be written; the error names `folder`, or what stands in its way.
    """
    inside = folder.exists()
    hidden = folder / f".{index}" if inside else folder.with_name(f".{folder.name}")
    own = f".{platform.node()}.{os.getpid()}"
    part = hidden.with_name(f"{hidden.name}{own}{PART}")
    with naming(folder):
        for left in [*_leftovers(hidden, PART), *_leftovers(hidden, _MOVING)]:
            shutil.rmtree(left)
        part.mkdir(parents=True)
        try:
            yield part
            if not inside and _renamed(part, folder):
                return
            moving = part.rename(hidden.with_name(f"{hidden.name}{own}{_MOVING}"))
            _move(moving, folder, index)
            shutil.rmtree(moving)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def check_vacant(out: Path, first: str) -> None:
    """Refuses a folder that holds something, or in which nothing can be written, before the work.

    Args:
        out: the folder, which need not be there.
        first: name of a file that is to be written into it.

    Raises:
        FEAError: it holds something, or is a file.
        OSError: nothing can be written there.
    """
    with naming(out):
        if out.is_dir() and any(out.iterdir()):
            raise FEAError(f"out: '{out}' is not empty; name a folder that is not there yet, or empty it")
        if out.exists() and not out.is_dir():
            raise FEAError(f"out: '{out}' is a file; name a folder")
    try_place(out / first)


def recover(folder: Path, index: str, others: Sequence[str]) -> None:
    """Takes away what a process that was killed has moved of a set.

    Args:
        folder: that it belongs to.
        index: the file that would have been moved last.
        others: names of the other files.
    """
    for left in _leftovers(folder / f".{index}", _MOVING):
        for name in others:
            if not (folder / index).exists() and not (left / name).exists():
                (folder / name).unlink(missing_ok=True)
        shutil.rmtree(left)


def _renamed(part: Path, folder: Path) -> bool:
    """Whether the hidden folder could become the right one: nobody has made that in the meantime."""
    with suppress(OSError):
        part.rename(folder)
        keep_names(folder.parent)
        return True
    return False


def _move(moving: Path, folder: Path, index: str) -> None:
    (folder / index).unlink(missing_ok=True)
    keep_names(folder)
    for file in sorted(moving.rglob("*"), key=lambda file: file == moving / index):
        target = folder / file.relative_to(moving)
        if file.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            os.replace(file, target)
    keep_names(folder)


def _leftovers(hidden: Path, kind: str) -> list[Path]:
    """Folders that processes of this machine left, which are no more."""
    found = hidden.parent.glob(f"{hidden.name}.{platform.node()}.*{kind}") if hidden.parent.is_dir() else []
    pids = {folder: folder.name.removesuffix(kind).rpartition(".")[2] for folder in found}
    return [folder for folder, pid in pids.items() if pid.isdigit() and not psutil.pid_exists(int(pid))]
