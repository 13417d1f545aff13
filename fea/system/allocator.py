"""How torch takes the memory of a GPU, which it reads from the environment: set before torch is loaded."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

# What torch reads; of these names the first was the only one until 2.9, and the last is there for AMD.
_NAMES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


def expand_segments() -> None:
    """Lets pieces of memory grow, unless the user has settings of their own.

    Lengths vary from pack to pack: pieces of fixed sizes would fit none of the next, and a card run out of memory half empty.
    """
    if sys.platform == "linux" and not any(name in os.environ for name in _NAMES):  # elsewhere torch cannot, and warns
        major, minor = version("torch").split(".")[:2]
        os.environ[_NAMES[(int(major), int(minor)) >= (2, 9)]] = "expandable_segments:True"
