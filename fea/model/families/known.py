"""All families that a policy can be built from."""

from __future__ import annotations

from fea.model.families.family import Family
from fea.model.families.qwen_vl import QWEN2_5_VL

FAMILIES = (QWEN2_5_VL,)
TINY = QWEN2_5_VL  # of the base "tiny"


def publisher(base: str) -> Family | None:
    """The family that lists a model among its published ones; None for a folder, or a name that none lists."""
    return next((family for family in FAMILIES if base in family.published), None)
