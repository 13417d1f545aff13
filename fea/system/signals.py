"""The signals by which schedulers ask for an end before they take a machine away."""

from __future__ import annotations

import signal

_NAMES = ("SIGTERM", "SIGUSR1")  # the latter is not there on Windows
SIGNALS: tuple[signal.Signals, ...] = tuple(signal.Signals[name] for name in _NAMES if hasattr(signal, name))
