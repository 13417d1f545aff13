"""The one error that a user is meant to read."""

from __future__ import annotations


class FEAError(ValueError):
    """Bad input. The message is one sentence: what is wrong, where (file, line, key), what to do.

    The command line prints it without a traceback and exits with its code.
    """

    code = 2
