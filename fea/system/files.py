"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

PART = ".part"  # ends the name of an unfinished file, which a process that was killed leaves behind


@contextmanager
def whole(file: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes its place when the block ends, and not at all if the block fails.

    A reader sees the old file or the new one, after a power cut too: the content is on the disk before the name changes.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}{PART}")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
        _keep_name(file.parent)
    finally:
        temporary.unlink(missing_ok=True)


def lock(file: Path) -> TextIO | None:
    """Keeps other processes from locking a file for as long as what it returns is open; None if one of them has done so."""
    file.parent.mkdir(parents=True, exist_ok=True)
    stream = file.open("a")
    try:
        # A lock of this process alone: workers that outlive it do not hold it.
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return None
    return stream


def write_atomically(file: Path, content: bytes) -> None:
    """Writes a file, whole or not at all."""
    with whole(file) as stream:
        stream.write(content)


def _keep_name(folder: Path) -> None:
    """Forces a folder's list of names to the disk; not every file system has a way to."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def common_root(images: Iterable[str], folder: Path) -> Path:
    """What the images of a new file are relative to: its folder if all of them lie in it, else the one that holds them all.

    Args:
        images: paths of the images.
        folder: of the new file.
    """
    common = Path(os.path.commonpath([Path(image).resolve().parent for image in images]))
    return folder.resolve() if common.is_relative_to(folder.resolve()) else common
