"""The vision tower as llama.cpp reads it, in a file of its own.

Qwen2-VL      fc1, GELU as x * sigmoid(1.702 x), fc2; every block sees the whole picture
Qwen2.5-VL    gate, up, down with SiLU; windows, and every n-th block sees the whole picture
Qwen3-VL      fc1, GELU, fc2; learned positions of a square grid; features of some blocks for the language model (DeepStack)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from math import isqrt
from pathlib import Path
from typing import Any

from torch import Tensor

from fea.errors import FEAError
from fea.export import ggml

TOWER = "model.visual."
_IMAGE_SIZE = 560  # of the positions that a reader prepares; it makes others as they are needed
_WINDOW = 112  # pixels along a window of the tower, which llama.cpp takes for granted
_EPS = 1e-6  # of the norms of the tower, which no config tells
_MANY = 128  # blocks of the map of names: it numbers the layers of the merger on, and they have to be among them
# Parts of the newest tower, of which the map has no names, in those of the earlier ones; and what follows a block.
_MERGER = {"merger.norm.": "merger.ln_q.", "merger.linear_fc1.": "merger.mlp.0.", "merger.linear_fc2.": "merger.mlp.2."}
_DEEP = re.compile(r"visual\.deepstack_merger_list\.(\d+)\.(?:linear_)?(norm|fc1|fc2)\.(weight|bias)")


def check_tower(config: Any) -> None:
    """Refuses a tower of a shape that llama.cpp does not know.

    Args:
        config: of a whole model of a known family.

    Raises:
        FEAError: with what is another.
    """
    if config.model_type != "qwen2_5_vl":
        return
    tower = config.vision_config
    whole = tower.fullatt_block_indexes
    pattern = whole[0] + 1
    if [*whole] != [*range(pattern - 1, tower.depth, pattern)] or tower.window_size != _WINDOW:
        raise FEAError(
            f"format: llama.cpp knows vision towers in which every n-th block sees the whole picture, and windows of {_WINDOW} "
            f"pixels; this one has {whole} and {tower.window_size}; export it with --format merged"
        )


def write_tower(file: Path, merged: Path, config: Any) -> None:
    """Writes it.

    Args:
        file: that is not there yet.
        merged: a whole model, with its settings.
        config: of that.
    """
    from gguf import MODEL_ARCH, GGUFType, GGUFWriter, get_tensor_name_map

    writer = GGUFWriter(file, "clip")
    images = json.loads((merged / "preprocessor_config.json").read_text(encoding="utf-8"))
    writer.add_type(GGUFType.MMPROJ)
    writer.add_clip_has_vision_encoder(True)
    _add_shape(writer, config)
    writer.add_vision_image_mean(images["image_mean"])
    writer.add_vision_image_std(images["image_std"])
    side = config.vision_config.patch_size * config.vision_config.spatial_merge_size
    writer.add_vision_min_pixels(least_tokens(images["size"]["shortest_edge"], side) * side**2)
    writer.add_vision_max_pixels(images["size"]["longest_edge"])
    names, split = get_tensor_name_map(MODEL_ARCH.MMPROJ, _MANY), config.model_type != "qwen3_vl"
    deep = getattr(config.vision_config, "deepstack_visual_indexes", ())
    for name, weight in ggml.weights(merged):
        if name.startswith(TOWER):
            for part, content in _parts(name.replace(TOWER, "visual.", 1), weight, split):
                ggml.add(writer, _named(names, part, deep), content, whole="embed" in part)
    ggml.finish(writer)


def least_tokens(pixels: int, side: int) -> int:
    """Visual tokens of a square picture with the fewest pixels, rounded down as the processors of the families do.

    Where the fewest are nearly the most, pictures have no more than that; llama.cpp would enlarge them.

    Args:
        pixels: the fewest.
        side: of a visual token, in pixels.
    """
    return max(1, isqrt(pixels) // side) ** 2


def _add_shape(writer: Any, config: Any) -> None:
    """The dimensions, and in what the families differ."""
    from gguf import VisionProjectorType

    tower, kind = config.vision_config, config.model_type
    width, out = (
        (tower.embed_dim, tower.hidden_size) if kind == "qwen2_vl" else (tower.hidden_size, tower.out_hidden_size)
    )
    inner = int(width * tower.mlp_ratio) if kind == "qwen2_vl" else tower.intermediate_size
    size = isqrt(tower.num_position_embeddings) * tower.patch_size if kind == "qwen3_vl" else _IMAGE_SIZE
    writer.add_vision_image_size(size)
    writer.add_vision_patch_size(tower.patch_size)
    writer.add_vision_embedding_length(width)
    writer.add_vision_feed_forward_length(inner)
    writer.add_vision_block_count(tower.depth)
    writer.add_vision_head_count(tower.num_heads)
    writer.add_vision_projection_dim(out)
    writer.add_vision_attention_layernorm_eps(_EPS)
    if kind == "qwen2_vl":
        writer.add_clip_projector_type(VisionProjectorType.QWEN2VL)
    elif kind == "qwen2_5_vl":
        writer.add_clip_projector_type(VisionProjectorType.QWEN25VL)
        writer.add_vision_use_silu(True)
        writer.add_vision_n_wa_pattern(tower.fullatt_block_indexes[0] + 1)
    else:
        writer.add_clip_projector_type(VisionProjectorType.QWEN3VL)
        writer.add_vision_use_gelu(True)
        writer.add_vision_spatial_merge_size(tower.spatial_merge_size)
        writer.add_vision_is_deepstack_layers([block in tower.deepstack_visual_indexes for block in range(tower.depth)])


def _named(names: Any, name: str, deep: Sequence[int]) -> str:
    """What llama.cpp calls a weight; a merger of DeepStack by the block that it follows."""
    if found := _DEEP.fullmatch(name):
        return f"v.deepstack.{deep[int(found[1])]}.{found[2]}.{found[3]}"
    for new, earlier in _MERGER.items():
        name = name.replace(f"visual.{new}", f"visual.{earlier}")
    return ggml.named(names, name)


def _parts(name: str, weight: Tensor, split: bool) -> Iterator[tuple[str, Tensor]]:
    """A weight of the tower as llama.cpp has it: the two frames of a patch apart, and if `split`, queries, keys and values."""
    if ".qkv." in name and split:
        yield from zip((name.replace("qkv", letter) for letter in "qkv"), weight.chunk(3), strict=True)
    elif name.endswith("patch_embed.proj.weight"):
        first, second = weight.unbind(2)
        yield from ((name, first), (f"{name}.1", second))
    else:
        yield name, weight
