"""All families that a policy can be built from."""

from __future__ import annotations

from fea.model.families.family import Family
from fea.model.families.qwen2_5_vl import QWEN2_5_VL
from fea.model.families.qwen2_vl import QWEN2_VL
from fea.model.families.qwen3_vl import QWEN3_VL

FAMILIES = (QWEN3_VL, QWEN2_5_VL, QWEN2_VL)
TINY = QWEN2_5_VL  # of the base "tiny" where no other is named


def publisher(base: str) -> Family | None:
    """The family that lists a model among its published ones; None for a folder, or a name that none lists."""
    return next((family for family in FAMILIES if base in family.published), None)


def of_type(model_type: str) -> Family | None:
    """The family of what a `config.json` calls its model; None if it is none of these."""
    return next((family for family in FAMILIES if family.model_type == model_type), None)
