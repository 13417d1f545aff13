"""Qwen2.5-VL (arXiv 2502.13923). The dimensions are those of the published `config.json` files."""

from __future__ import annotations

from typing import Any

from fea.model.families.family import Dimensions, Family, Tiny
from fea.model.families.qwen import CHAT_TEMPLATE, COMMON, SPECIAL_TOKENS, text, tiny_text


def _vision(out: int) -> dict[str, Any]:
    """The tower, which is the same in all sizes, and the width of the language model that it feeds."""
    return {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "window_size": 112,
        "tokens_per_second": 2,
        "out_hidden_size": out,
    }


def _tiny(hidden: int, layers: int, heads: int, vision_hidden: int, vision_layers: int) -> Dimensions:
    vision = {
        "depth": vision_layers,
        "hidden_size": vision_hidden,
        "intermediate_size": 3 * vision_hidden,
        "num_heads": 4,
        "out_hidden_size": hidden,
        "fullatt_block_indexes": [vision_layers - 1],
        "window_size": 112,
    }
    return Dimensions(tiny_text(hidden, layers, heads), vision, tied=True)


QWEN2_5_VL = Family(
    **COMMON,
    model_type="qwen2_5_vl",
    title="Qwen2.5-VL",
    config_class="Qwen2_5_VLConfig",
    model_class="Qwen2_5_VLForConditionalGeneration",
    patch=14,
    deepstack="",
    published={
        "Qwen/Qwen2.5-VL-3B-Instruct": Dimensions(text(2048, 11008, 36, 16, 2, 151936), _vision(2048), tied=True),
        "Qwen/Qwen2.5-VL-7B-Instruct": Dimensions(text(3584, 18944, 28, 28, 4, 152064), _vision(3584), tied=False),
    },
    licenses={
        "Qwen/Qwen2.5-VL-3B-Instruct": "Qwen research license",
        "Qwen/Qwen2.5-VL-7B-Instruct": "Apache-2.0",
    },
    tiny=Tiny(SPECIAL_TOKENS, CHAT_TEMPLATE, "Qwen2VLImageProcessorPil", {}, _tiny),
)
