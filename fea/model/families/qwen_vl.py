"""Dimensions of the published Qwen2.5-VL models, so that memory can be planned before anything is downloaded.

Source: the `config.json` of the models.
"""

from __future__ import annotations

from typing import Any

_VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "window_size": 112,
}
_TEXT: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-VL-3B-Instruct": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
    },
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    },
}
_TIED = {"Qwen/Qwen2.5-VL-3B-Instruct"}  # the output head is the embedding


def known_family(base: str) -> Any | None:
    """The config of a published model, by its hub name; None for any other."""
    if base not in _TEXT:
        return None
    from transformers import Qwen2_5_VLConfig

    text = {
        **_TEXT[base],
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }
    vision = {**_VISION, "out_hidden_size": text["hidden_size"]}
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=base in _TIED)
