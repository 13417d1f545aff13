"""Errors that a user is meant to read. The command line prints them without a traceback and exits with their code."""

from __future__ import annotations


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
