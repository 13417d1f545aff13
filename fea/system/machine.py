"""How much memory there is, and how much of it was used."""

from __future__ import annotations

import sys

import psutil
import torch

try:
    from resource import RUSAGE_SELF, getrusage
except ModuleNotFoundError:  # on Windows

    def _peak() -> float:
        return float(psutil.Process().memory_info().peak_wset)

else:

    def _peak() -> float:
        unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kibibytes
        return float(getrusage(RUSAGE_SELF).ru_maxrss * unit)


def total_memory() -> float:
    """Bytes of the GPU where there is one, else of this machine."""
    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    return float(psutil.virtual_memory().total)


def peak_memory() -> float:
    """Largest memory so far in GiB: of the GPU where there is one, else of this process."""
    return (torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _peak()) / 2**30
