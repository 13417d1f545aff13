"""Qwen3-VL (arXiv 2511.21631). The dimensions are those of the published `config.json` files."""

from __future__ import annotations

from typing import Any

from fea.model.families.family import Dimensions, Family, Tiny
from fea.model.families.qwen import CHAT_TEMPLATE, COMMON, SPECIAL_TOKENS, tiny_text


def _text(hidden: int, inner: int, layers: int, heads: int) -> dict[str, Any]:
    """Heads are 128 wide, whatever the model's width."""
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "rms_norm_eps": 1e-6,
        "rope_parameters": _rope(5e6, [24, 20, 20]),
    }


def _rope(theta: float, sections: list[int]) -> dict[str, Any]:
    """Time, height and width take turns along the rotary dimensions, where earlier families have them one after the other."""
    return {"rope_type": "default", "rope_theta": theta, "mrope_section": sections, "mrope_interleaved": True}


def _vision(depth: int, hidden: int, inner: int, out: int, deepstack: list[int]) -> dict[str, Any]:
    return {
        "depth": depth,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_heads": 16,
        "num_position_embeddings": 48 * 48,
        "deepstack_visual_indexes": deepstack,
        "out_hidden_size": out,
    }


def _small_tower(out: int) -> dict[str, Any]:
    """Of the models up to 4B."""
    return _vision(24, 1024, 4096, out, [5, 11, 17])


def _tiny(hidden: int, layers: int, heads: int, vision_hidden: int, vision_layers: int) -> Dimensions:
    # As in the 4B model, all heads together are wider than the model; a rotary dimension is a pair of numbers of a head.
    rotary = 3 * hidden // heads // 4
    space = 5 * rotary // 16
    text = {
        **tiny_text(hidden, layers, heads),
        "head_dim": 2 * rotary,
        "rope_parameters": _rope(10_000.0, [rotary - 2 * space, space, space]),
    }
    vision = {
        "depth": vision_layers,
        "hidden_size": vision_hidden,
        "intermediate_size": 3 * vision_hidden,
        "num_heads": 4,
        "num_position_embeddings": 8 * 8,
        "deepstack_visual_indexes": list(range(min(vision_layers - 1, layers - 1, 3))),
        "out_hidden_size": hidden,
    }
    return Dimensions(text, vision, tied=True)


_HALF = [0.5, 0.5, 0.5]  # red, green and blue: pixels lie between -1 and 1

QWEN3_VL = Family(
    **COMMON,
    model_type="qwen3_vl",
    title="Qwen3-VL",
    config_class="Qwen3VLConfig",
    model_class="Qwen3VLForConditionalGeneration",
    patch=16,
    deepstack="deepstack_visual_indexes",
    published={
        "Qwen/Qwen3-VL-2B-Instruct": Dimensions(_text(2048, 6144, 28, 16), _small_tower(2048), tied=True),
        "Qwen/Qwen3-VL-4B-Instruct": Dimensions(_text(2560, 9728, 36, 32), _small_tower(2560), tied=True),
        "Qwen/Qwen3-VL-8B-Instruct": Dimensions(
            _text(4096, 12288, 36, 32), _vision(27, 1152, 4304, 4096, [8, 16, 24]), tied=False
        ),
    },
    licenses={
        "Qwen/Qwen3-VL-2B-Instruct": "Apache-2.0",
        "Qwen/Qwen3-VL-4B-Instruct": "Apache-2.0",
        "Qwen/Qwen3-VL-8B-Instruct": "Apache-2.0",
    },
    tiny=Tiny(
        SPECIAL_TOKENS,
        CHAT_TEMPLATE,
        "Qwen2VLImageProcessorPil",
        {"patch_size": 16, "image_mean": _HALF, "image_std": _HALF},
        _tiny,
    ),
)
