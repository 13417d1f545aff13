"""GGUF files for llama.cpp and what is built on it: the language model in one, the vision tower in the other, and a Modelfile.

Names of tensors come from the maps of the package `gguf`, which the makers of llama.cpp keep; what is written here is which
setting of a model goes where.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from fea.errors import FEAError
from fea.export.naming import network_names, weight_files

MODEL, VISION, MODELFILE = "model.gguf", "mmproj.gguf", "Modelfile"
_TEXT_MODEL, _TOWER = "model.language_model.", "model.visual."
_IMAGE_SIZE = 560  # of the positions that a reader prepares; it makes others as they are needed
_WINDOW = 112  # pixels along a window of the tower, which llama.cpp takes for granted
_EPS = 1e-6  # of the norms of the tower, which no config tells
_MANY = 128  # blocks of the map of names: it numbers the layers of the merger on, and they have to be among them
_KINDS = ("qwen2_5_vl",)
# For Ollama, which by itself would draw answers at random and fine what has been said before.
_MODELFILE = f'''\
FROM ./{MODEL}
FROM ./{VISION}
TEMPLATE """{{{{{{{{- range .Messages }}}}}}}}<|im_start|>{{{{{{{{ .Role }}}}}}}}
{{{{{{{{ .Content }}}}}}}}<|im_end|>
{{{{{{{{ end }}}}}}}}<|im_start|>assistant
"""
SYSTEM """{{system}}"""
PARAMETER stop "<|im_end|>"
PARAMETER temperature 0
PARAMETER repeat_penalty 1.0
'''


def check_gguf(base: Path) -> None:
    """Refuses what cannot be written or read back here, before the work.

    Args:
        base: the files of a base.

    Raises:
        FEAError: naming what is missing.
    """
    from importlib.util import find_spec

    if missing := [name for name in ("gguf", "xllamacpp") if find_spec(name) is None]:
        raise FEAError(f"format: gguf needs the package {missing[0]} (pip install 'fea[gguf]'), and it is not there")
    kind = json.loads((base / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind not in _KINDS:
        raise FEAError(f"format: a {kind} model cannot be written as GGUF yet; export it with --format merged")


def write_gguf(folder: Path, merged: Path) -> None:
    """Writes `model.gguf`, `mmproj.gguf` and a `Modelfile` for Ollama.

    Args:
        folder: that is there.
        merged: a whole model, with its settings and its `fea.json`.

    Raises:
        FEAError: the vision tower is of a shape that llama.cpp does not know.
    """
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(merged)
    _write_text(folder / MODEL, merged, config, AutoTokenizer.from_pretrained(merged))
    _write_tower(folder / VISION, merged, config)
    system = json.loads((merged / "fea.json").read_text(encoding="utf-8"))["system"]
    (folder / MODELFILE).write_text(_MODELFILE.format(system=system), encoding="utf-8")


def _write_text(file: Path, merged: Path, config: Any, tokenizer: Any) -> None:
    from gguf import MODEL_ARCH, GGUFWriter, get_tensor_name_map

    text, writer = config.text_config, GGUFWriter(file, "qwen2vl")
    rope = text.rope_parameters
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_rope_dimension_sections([*rope["mrope_section"], 0])
    _add_tokenizer(writer, merged, tokenizer, text.vocab_size)
    names = get_tensor_name_map(MODEL_ARCH.QWEN2VL, text.num_hidden_layers)
    for name, weight in _weights(merged):
        if name.startswith(_TOWER) or (name == "lm_head.weight" and config.tie_word_embeddings):
            continue
        _add(writer, _named(names, name.replace(_TEXT_MODEL, "model.", 1)), weight)
    _finish(writer)


def _add_tokenizer(writer: Any, merged: Path, tokenizer: Any, rows: int) -> None:
    """The vocabulary, filled up to the rows of the embedding."""
    from gguf import TokenType

    told = json.loads((merged / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    words = {number: word for word, number in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    kinds = {number: TokenType.CONTROL if token.special else TokenType.USER_DEFINED for number, token in added.items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([words.get(number, f"[PAD{number}]") for number in range(rows)])
    rest = {True: TokenType.NORMAL, False: TokenType.UNUSED}
    writer.add_token_types([kinds.get(number, rest[number in words]) for number in range(rows)])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in told["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)


def _write_tower(file: Path, merged: Path, config: Any) -> None:
    from gguf import MODEL_ARCH, GGUFType, GGUFWriter, VisionProjectorType, get_tensor_name_map

    tower, writer = config.vision_config, GGUFWriter(file, "clip")
    whole = tower.fullatt_block_indexes
    pattern = whole[0] + 1
    if [*whole] != [*range(pattern - 1, tower.depth, pattern)] or tower.window_size != _WINDOW:
        raise FEAError(
            f"format: llama.cpp knows vision towers in which every n-th block sees the whole picture, and windows of {_WINDOW} "
            f"pixels; this one has {whole} and {tower.window_size}; export it with --format merged"
        )
    images = json.loads((merged / "preprocessor_config.json").read_text(encoding="utf-8"))
    writer.add_type(GGUFType.MMPROJ)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(VisionProjectorType.QWEN25VL)
    writer.add_vision_image_size(_IMAGE_SIZE)
    writer.add_vision_patch_size(tower.patch_size)
    writer.add_vision_embedding_length(tower.hidden_size)
    writer.add_vision_feed_forward_length(tower.intermediate_size)
    writer.add_vision_block_count(tower.depth)
    writer.add_vision_head_count(tower.num_heads)
    writer.add_vision_projection_dim(tower.out_hidden_size)
    writer.add_vision_attention_layernorm_eps(_EPS)
    writer.add_vision_image_mean(images["image_mean"])
    writer.add_vision_image_std(images["image_std"])
    writer.add_vision_min_pixels(images["size"]["shortest_edge"])
    writer.add_vision_max_pixels(images["size"]["longest_edge"])
    writer.add_vision_use_silu(True)
    writer.add_vision_n_wa_pattern(pattern)
    names = get_tensor_name_map(MODEL_ARCH.MMPROJ, _MANY)
    for name, weight in _weights(merged):
        if name.startswith(_TOWER):
            for part, content in _parts(name.replace(_TOWER, "visual.", 1), weight):
                _add(writer, _named(names, part), content, whole="patch_embed" in part)
    _finish(writer)


def _parts(name: str, weight: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A weight of the tower as llama.cpp has it: queries, keys and values apart, and so the two frames of a patch."""
    if ".qkv." in name:
        yield from zip((name.replace("qkv", letter) for letter in "qkv"), weight.chunk(3), strict=True)
    elif name.endswith("patch_embed.proj.weight"):
        first, second = weight.unbind(2)
        yield from ((name, first), (f"{name}.1", second))
    else:
        yield name, weight


def _weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """The weights of a model one by one, by their names in the network."""
    files = weight_files(folder)
    called = network_names(folder, [name for names in files.values() for name in names])
    for file, names in files.items():
        with safe_open(folder / file, "pt") as stored:
            for name in names:
                yield called[name], stored.get_tensor(name)


def _named(names: Any, name: str) -> str:
    """What llama.cpp calls a weight."""
    end = ".1" if name.endswith(".weight.1") else ""
    found = names.get_name(name.removesuffix(".1"), try_suffixes=(".weight", ".bias"))
    if found is None:
        raise FEAError(f"format: llama.cpp has no place for the weight '{name}'; export it with --format merged")
    return f"{found}{end}"


def _add(writer: Any, name: str, weight: Tensor, whole: bool = False) -> None:
    """A weight in its own type; norms, biases and what has to be `whole` in fp32, as readers ask for."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    if weight.dim() == 1 or whole or weight.dtype == torch.float32:
        writer.add_tensor(name, weight.float().contiguous().numpy())
    elif weight.dtype == torch.bfloat16:
        kind = GGMLQuantizationType.BF16
        writer.add_tensor(name, quantize(weight.float().contiguous().numpy(), kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, weight.contiguous().numpy())


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
