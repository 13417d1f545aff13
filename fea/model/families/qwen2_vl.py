"""Qwen2-VL (arXiv 2409.12191). The dimensions are those of the published `config.json` files."""

from __future__ import annotations

from typing import Any

from fea.model.families.family import Dimensions, Family, Tiny
from fea.model.families.qwen import CHAT_TEMPLATE, COMMON, SPECIAL_TOKENS, text, tiny_text


def _vision(out: int) -> dict[str, Any]:
    """The tower, which is the same in all sizes; what its config calls hidden size is the width of the language model."""
    return {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "hidden_size": out}


def _tiny(hidden: int, layers: int, heads: int, vision_hidden: int, vision_layers: int) -> Dimensions:
    vision = {
        "depth": vision_layers,
        "embed_dim": vision_hidden,
        "mlp_ratio": 3,
        "num_heads": 4,
        "hidden_size": hidden,
    }
    return Dimensions(tiny_text(hidden, layers, heads), vision, tied=True)


QWEN2_VL = Family(
    **COMMON,
    model_type="qwen2_vl",
    title="Qwen2-VL",
    config_class="Qwen2VLConfig",
    model_class="Qwen2VLForConditionalGeneration",
    patch=14,
    deepstack="",
    published={
        "Qwen/Qwen2-VL-2B-Instruct": Dimensions(text(1536, 8960, 28, 12, 2, 151936), _vision(1536), tied=True),
        "Qwen/Qwen2-VL-7B-Instruct": Dimensions(text(3584, 18944, 28, 28, 4, 152064), _vision(3584), tied=False),
    },
    licenses={
        "Qwen/Qwen2-VL-2B-Instruct": "Apache-2.0",
        "Qwen/Qwen2-VL-7B-Instruct": "Apache-2.0",
    },
    tiny=Tiny(SPECIAL_TOKENS, CHAT_TEMPLATE, "Qwen2VLImageProcessorPil", {}, _tiny),
)
