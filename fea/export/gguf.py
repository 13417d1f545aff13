"""GGUF files for llama.cpp and what is built on it: the language model in one, the vision tower in the other, and a Modelfile.

Names of tensors come from the maps of the package `gguf`, which the makers of llama.cpp keep; what is written here is which
setting of a model goes where.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fea.errors import FEAError
from fea.export import ggml
from fea.export.mmproj import TOWER, check_tower, write_tower

MODEL, VISION, MODELFILE = "model.gguf", "mmproj.gguf", "Modelfile"
_TEXT_MODEL = "model.language_model."
# What llama.cpp calls the language models of the families.
_KINDS = {"qwen2_vl": "qwen2vl", "qwen2_5_vl": "qwen2vl", "qwen3_vl": "qwen3vl"}
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
        FEAError: naming what is missing, or the vision tower is of a shape that llama.cpp does not know.
    """
    from importlib.util import find_spec

    from transformers import AutoConfig

    if missing := [name for name in ("gguf", "xllamacpp") if find_spec(name) is None]:
        raise FEAError(f"format: gguf needs the package {missing[0]} (pip install 'fea[gguf]'), and it is not there")
    kind = json.loads((base / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind not in _KINDS:
        raise FEAError(f"format: a {kind} model cannot be written as GGUF yet; export it with --format merged")
    check_tower(AutoConfig.from_pretrained(base))


def write_gguf(folder: Path, merged: Path) -> None:
    """Writes `model.gguf`, `mmproj.gguf` and a `Modelfile` for Ollama.

    Args:
        folder: that is there.
        merged: a whole model, with its settings and its `fea.json`.
    """
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(merged)
    _write_text(folder / MODEL, merged, config, AutoTokenizer.from_pretrained(merged))
    write_tower(folder / VISION, merged, config)
    system = json.loads((merged / "fea.json").read_text(encoding="utf-8"))["system"]
    (folder / MODELFILE).write_text(_MODELFILE.format(system=system), encoding="utf-8")


def _write_text(file: Path, merged: Path, config: Any, tokenizer: Any) -> None:
    from gguf import MODEL_ARCH_NAMES, GGUFWriter, get_tensor_name_map

    text, kind = config.text_config, _KINDS[config.model_type]
    rope, writer = text.rope_parameters, GGUFWriter(file, kind)
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_rope_dimension_sections([*rope["mrope_section"], 0])
    if kind == "qwen3vl":  # whose heads are as wide as they like
        writer.add_key_length(text.head_dim)
        writer.add_value_length(text.head_dim)
        writer.add_num_deepstack_layers(len(config.vision_config.deepstack_visual_indexes))
    _add_tokenizer(writer, merged, tokenizer, text.vocab_size)
    (arch,) = (arch for arch, name in MODEL_ARCH_NAMES.items() if name == kind)
    names = get_tensor_name_map(arch, text.num_hidden_layers)
    for name, weight in ggml.weights(merged):
        if name.startswith(TOWER) or (name == "lm_head.weight" and config.tie_word_embeddings):
            continue
        ggml.add(writer, ggml.named(names, name.replace(_TEXT_MODEL, "model.", 1)), weight)
    ggml.finish(writer)


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
