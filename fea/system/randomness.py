"""The state of all random number generators, so that callbacks which draw at random can be resumed exactly.

Nothing of fea itself needs it: order, mirroring and sampling are functions of the seed and of the place in the run.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def state() -> dict[str, Any]:
    """As tensors and plain values: checkpoints are read with `weights_only`, which refuses NumPy's arrays."""
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),  # empty without a GPU
    }


def restore(state: dict[str, Any]) -> None:
    """Puts the generators where they were; those of the GPUs only on as many GPUs as there were."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
