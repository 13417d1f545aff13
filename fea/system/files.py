"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fea.errors import FEAError

try:
    from fcntl import LOCK_EX, LOCK_NB, lockf
except ModuleNotFoundError:  # on Windows
    # Not everywhere: on Linux it locks by handle, and forked workers would inherit and keep the lock.
    from filelock import FileLock, Timeout

    def _locked(file: Path) -> Callable[[], object] | None:
        held = FileLock(file)
        try:
            held.acquire(timeout=0)
        except Timeout:
            return None
        return held.release

else:

    def _locked(file: Path) -> Callable[[], object] | None:
        stream = file.open("ab")
        try:
            # A lock of this process alone: workers that outlive it do not hold it.
            lockf(stream, LOCK_EX | LOCK_NB)
        except OSError:
            stream.close()
            return None
        return stream.close


_TRIAL = 1 << 16  # bytes: more than a file system keeps beside a name
PART = ".part"  # ends the name of an unfinished file, which a process that was killed leaves behind


@contextmanager
def whole(file: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes its place when the block ends, and not at all if the block fails.

    A reader sees the old file or the new one, after a power cut too: the content is on the disk before the name changes. Who
    may read the old one may read the new one, and nobody else.

    Raises:
        OSError: it cannot be written; the error names this file.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}{PART}")
    with naming(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as stream:
                if file.exists():
                    temporary.chmod(stat.S_IMODE(file.stat().st_mode))
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, file)
            keep_names(file.parent)
        finally:
            with suppress(OSError):  # where the name is too long, it is so here too
                temporary.unlink(missing_ok=True)


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Has an error of the block name a file that its user knows, if it names none or an unfinished one."""
    try:
        yield
    except OSError as error:
        if error.errno and (error.filename is None or _unfinished(Path(os.fsdecode(error.filename)))):
            error.filename = str(file)
        raise


def _unfinished(file: Path) -> bool:
    return any(name.startswith(".") and name.endswith(PART) for name in file.parts)


def try_place(file: Path) -> None:
    """Finds out before the work whether a file can be written: writes a little beside it, and takes that away again.

    Raises:
        OSError: it cannot.
    """
    made = []
    with naming(file):
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
        if file.exists() and not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        missing = [folder for folder in file.parents if not folder.exists()]
        trial = file.with_name(f".{file.name}.{os.getpid()}{PART}")
        try:
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                made.append(folder)
            with trial.open("wb") as stream:
                stream.write(bytes(_TRIAL))
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            with suppress(OSError):
                trial.unlink(missing_ok=True)
            for folder in reversed(made):
                with suppress(OSError):  # another process may have put something there
                    folder.rmdir()


class Lock(NamedTuple):
    """A lock that is held until it is closed or forgotten, or this process ends."""

    close: Callable[[], object]


def lock(file: Path) -> Lock | None:
    """Keeps other processes from locking a file.

    Args:
        file: of its own for the lock, beside what is locked: closing any handle of a locked file would end the lock.

    Returns:
        The lock; None if another process holds it. It keeps this process out on some systems only.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    close = _locked(file)
    return Lock(close) if close else None


def write_atomically(file: Path, content: bytes) -> None:
    """Writes a file, whole or not at all."""
    with whole(file) as stream:
        stream.write(content)


def keep_names(folder: Path) -> None:
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

    Raises:
        FEAError: no folder holds them all: on Windows they may lie on several drives.
    """
    try:
        common = Path(os.path.commonpath([Path(image).resolve().parent for image in images]))
    except ValueError:
        raise FEAError(
            "the images lie on several drives, and no folder holds them all; copy them to one, or take the drives one by one"
        ) from None
    return folder.resolve() if common.is_relative_to(folder.resolve()) else common
