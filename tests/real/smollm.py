"""SmolLM2-135M-Instruct in the architecture of Qwen2.5-VL: the same words by the same weights, beside a small random tower.

A Llama differs from the language model of Qwen2.5-VL in three things, none of which changes a number: its layers of attention
have no biases (here they are zero), positions have one row (here three, of which text has the same in each), and its vocabulary
has no tokens of images (here they are appended).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from fea.model.families.known import TINY
from fea.model.tiny import build_image_processor

# 32 frequencies of a head of 64 dimensions, over time, height and width in the proportions of the published models.
_SECTIONS = [8, 12, 12]
_TOWER = (64, 2)  # width and layers: what is seen means nothing here, so it may cost little
_VISION = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")


def llama(gguf: Path) -> Any:
    """The model as it is in its file, in fp32."""
    return AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()


def write(gguf: Path, out: Path) -> Path:
    """Writes a folder that `policy.base` can name.

    Args:
        gguf: file with weights and tokenizer.
        out: new folder.

    Returns:
        `out`.
    """
    source = llama(gguf)
    tokenizer = _tokenizer(gguf)
    model = _built(source.config, tokenizer)
    model.load_state_dict(_weights(source.state_dict(), model.state_dict()))
    model.tie_weights()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    unfinished = out.with_name(f"{out.name}.unfinished")
    for part in (model, tokenizer, build_image_processor(TINY)):
        part.save_pretrained(unfinished)
    unfinished.rename(out)
    return out


def _tokenizer(gguf: Path) -> Any:
    read = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # A plain one, which writes all it needs into its folder.
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=read.backend_tokenizer,
        eos_token=TINY.end_token,
        pad_token="<|endoftext|>",
        chat_template=TINY.tiny.chat_template,
    )
    tokenizer.add_tokens([token for token in _VISION if token not in tokenizer.get_vocab()], special_tokens=True)
    return tokenizer


def _built(llama: Any, tokenizer: Any) -> Any:
    sizes = TINY.tiny.dimensions(llama.hidden_size, llama.num_hidden_layers, llama.num_attention_heads, *_TOWER)
    same = (
        *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
        *("rms_norm_eps", "max_position_embeddings"),
    )
    rope = {**llama.rope_parameters, "rope_type": "default", "mrope_section": _SECTIONS}
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in TINY.never_sampled.items()}
    config = Qwen2_5_VLConfig(
        text_config={
            **{name: getattr(llama, name) for name in same},
            "vocab_size": len(tokenizer),
            "rope_parameters": rope,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config=dict(sizes.vision),
        tie_word_embeddings=True,
        **ids,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen2_5_VLForConditionalGeneration(config).eval()


def _weights(source: dict[str, Tensor], fresh: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of the Llama by their names here; of the tower and of the tokens that it has not, the fresh ones."""
    weights = dict(fresh)
    for name, weight in source.items():
        if name != "lm_head.weight":
            own = name.replace("model.", "model.language_model.", 1)
            rows = len(weight)
            weights[own] = torch.cat([weight, fresh[own][rows:]]) if "embed_tokens" in own else weight
    zeros = {
        name: torch.zeros_like(weight)
        for name, weight in fresh.items()
        if name.endswith("_proj.bias") and "self_attn" in name
    }
    embedding = weights["model.language_model.embed_tokens.weight"]
    return weights | zeros | {"lm_head.weight": embedding}
