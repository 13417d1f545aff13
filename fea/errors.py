"""Errors that a user is meant to read. The command line prints them without a traceback and exits with their code."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_OTHER_PLACE = "make room, or choose another place"
# What the system refuses, by the name of its number: what is wrong, and what to do.
_REFUSED = {
    "ENOSPC": ("the disk is full", _OTHER_PLACE),
    "EDQUOT": ("the quota of this disk is used up", _OTHER_PLACE),
    "EFBIG": ("no file may grow so large here", "raise the limit (ulimit -f), or choose another place"),
    "EROFS": ("the file system is read-only", "choose another place"),
    "EACCES": ("there is no permission", "change that, or choose another place"),
    "EPERM": ("there is no permission", "change that, or choose another place"),
    "EMFILE": ("too many files are open", "raise the limit (ulimit -n)"),
    "ENFILE": ("too many files are open on this machine", "close other programs"),
    "ENAMETOOLONG": ("the name is too long", "choose a shorter one"),
    "EISDIR": ("it is a folder", "name a file"),
    "ENOTDIR": ("a part of the path is a file and no folder", "check the path"),
    "EEXIST": ("it is there already, and is no folder", "check the path"),
    "EIO": ("the disk fails", "check it, or choose another place"),
}


class FEAError(ValueError):
    """Bad input. The message is one sentence: what is wrong, where (file, line, key), what to do.

    Attributes:
        code: that the command line exits with.
    """

    code = 2


class Stopped(FEAError):
    """A run was asked to stop, and did.

    Args:
        message: where it is saved, and how to go on.
        number: of the signal; the code is 128 and this number, as of any process that a signal ended.
        first: whether this process speaks for the run; the others end without a word, as if all were done.
    """

    def __init__(self, message: str, number: int, first: bool = True):
        super().__init__(message)
        self.code = 128 + number if first else 0


class Failed(FEAError):
    """A process that was started has ended with an error, and has said why.

    Args:
        message: which one, and how to go on.
        code: that it exited with, which becomes that of this process.
    """

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: that of Python, of a card, or of torch on a CPU, whose error has no class of its own."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def told_by(error: OSError | MemoryError | RuntimeError) -> str | None:
    """A sentence about a file that could not be read or written, or about memory; None if the error is about something else.

    Here, and with nothing to import: where no more files can be opened, no module can be read.
    """
    if is_out_of_memory(error):
        return "out of memory; lower what is done at once (batch_size, eval_batch_size, samples, max_tokens)"
    if not isinstance(error, OSError):
        return None
    refused = _REFUSED.get(errno.errorcode.get(error.errno or 0, ""))
    if error.filename is None:
        return f"{refused[0]}; {refused[1]}" if refused else None
    what, advice = refused or (error.strerror or str(error), "check the path")
    if _in_cache(Path(os.fsdecode(error.filename))):
        advice = "data files are cached there: name another folder with HF_HOME or HF_DATASETS_CACHE"
    return f"'{os.fsdecode(error.filename)}': {what}; {advice}"


def _in_cache(file: Path) -> bool:
    """Whether a file belongs to the cache of the libraries of Hugging Face, or is a folder that it cannot be made in."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    home = Path(os.environ.get("HF_HOME") or root)
    places = [home, Path(os.environ.get("HF_DATASETS_CACHE") or home)]
    return any(
        file.is_relative_to(place) or (place.is_relative_to(file) and not place.exists())
        for place in (p.expanduser() for p in places)
    )
