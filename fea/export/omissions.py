"""What llama.cpp leaves out of the models that it reads (builds 10229 to 11549), though it is in their files.

Qwen2-VL, Qwen2.5-VL    the epsilon of the norms: the loader never asks for it, and goes on with 0
Qwen3-VL                the rotation of one or two of the slowest pairs of numbers of a head: time, height and width take turns
                        along the pairs, and what is left behind the turns of height or width has no axis, and so no position

Published models have an epsilon of 1e-6 and slowest pairs that turn by 4e-7 a token; the tiny ones of `fea demo` have 1e-5 and
2e-4, and say something else by some thousandths of a nat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fea.model.norm import RMSNorm


def leave_out(model: Any) -> str:
    """Changes a network into the one that llama.cpp computes.

    Args:
        model: of a family that is known by name.

    Returns:
        What it leaves out, in words; "" if there is nothing of the kind.
    """
    text, core = model.config.text_config, model.model.language_model
    if text.rope_parameters.get("mrope_interleaved"):
        return _rotations(core.rotary_emb, text.rope_parameters["mrope_section"])
    return _epsilon(core)


def _epsilon(core: Any) -> str:
    norms = [module for module in core.modules() if isinstance(module, RMSNorm) and module.eps]
    for norm in norms:
        norm.eps = 0.0
    return "the epsilon of the norms" if norms else ""


def _rotations(rotary: Any, sections: Sequence[int]) -> str:
    lost = [pair for pair in range(len(rotary.inv_freq)) if pair >= 3 * sections[pair % 3]]
    rotary.inv_freq[lost] = 0.0
    return f"the rotation of {len(lost)} of the {len(rotary.inv_freq)} pairs of a head" if lost else ""
