"""Tiny bases of families that are not known by name: real networks with random weights, as folders that one would be given.

Each has what its family is peculiar in: tiles with rows and columns (SmolVLM2), tiles and a thumbnail (InternVL), tiles that
are cut to the image's shape (LLaVA-OneVision), windows and images whose tokens see each other both ways (Gemma 3), layers with
a recurrent state (Qwen3.5). The chat templates say the same in as many ways.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from fea.model.families.known import TINY
from fea.model.tiny import build_tokenizer

_TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 4096, "initializer_range": 0.2,
}  # fmt: skip
_SIGLIP = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 7, "initializer_range": 0.2,
}  # fmt: skip
_PARTS = (
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}"
)
# Text alone or parts, as Qwen's; all parts, as SmolVLM's, which says nothing of plain text; no system, as Gemma's first.
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}" + _PARTS + "{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_ROLES = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{{ '' if message['content'][0]['type'] == 'image' else ' ' }}" + _PARTS + "<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
_TURNS = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('there is no system') }}{% endif %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n" + _PARTS + "<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


@dataclass(frozen=True)
class Stranger:
    """A base that nothing is known of by name.

    Attributes:
        tokens: special ones; the first is padding, the last ends a turn.
        named: attributes of the tokenizer, and which of these they are.
        template: how turns are written.
        config: from ids by token to the config of the network.
        images: image processor.
        processor: class of the joint processor, and its settings.
        manner: in which its template is told a question.
        roughen: makes what it says less even.
    """

    tokens: tuple[str, ...]
    named: dict[str, str]
    template: str
    config: Callable[[dict[str, int]], Any]
    images: Callable[[], Any]
    processor: dict[str, Any]
    manner: str
    roughen: Callable[[Any], None] = lambda model: None


def _roughen_gemma(model: Any) -> None:
    """It is born blind, and would say the last token again: its head is the embedding, which outweighs what layers add."""
    with torch.no_grad():
        model.model.multi_modal_projector.mm_input_projection_weight.normal_(std=0.2)
        model.model.language_model.embed_tokens.weight.mul_(0.1)
        model.model.language_model.norm.weight.fill_(9.0)  # to which it adds 1


def _smolvlm(ids: dict[str, int]) -> Any:
    vision = {**_SIGLIP, "image_size": 32, "patch_size": 8}
    text = transformers.LlamaConfig(**_TEXT, **_words(ids))
    return transformers.SmolVLMConfig(
        text_config=text, vision_config=vision, scale_factor=2, image_token_id=ids["<image>"], tie_word_embeddings=False
    )


def _internvl(ids: dict[str, int]) -> Any:
    vision = {**_SIGLIP, "image_size": [28, 28], "patch_size": [7, 7]}
    return transformers.InternVLConfig(
        text_config=transformers.Qwen2Config(**_TEXT, **_words(ids)), vision_config=vision, image_seq_length=4,
        image_token_id=ids["<IMG_CONTEXT>"], tie_word_embeddings=False,
    )  # fmt: skip


def _llava_onevision(ids: dict[str, int]) -> Any:
    return transformers.LlavaOnevisionConfig(
        text_config=transformers.Qwen2Config(**_TEXT, **_words(ids)), vision_config=_siglip(), image_token_index=ids["<image>"],
        video_token_index=ids["<video>"], image_grid_pinpoints=_GRIDS, vision_aspect_ratio="anyres_max_4",
        tie_word_embeddings=True,
    )  # fmt: skip


def _gemma3(ids: dict[str, int]) -> Any:
    text = transformers.Gemma3TextConfig(
        **_TEXT, **_words(ids), head_dim=16, query_pre_attn_scalar=24, sliding_window=24,
        layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    return transformers.Gemma3Config(
        text_config=text, vision_config=_siglip(), mm_tokens_per_image=4, image_token_index=ids["<image_soft_token>"],
        boi_token_index=ids["<start_of_image>"], eoi_token_index=ids["<end_of_image>"], eos_token_id=ids["<end_of_turn>"],
    )  # fmt: skip


def _qwen3_5(ids: dict[str, int]) -> Any:
    text = {
        **_TEXT, **_words(ids), "head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "linear_key_head_dim": 8, "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"],
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 0], "mrope_interleaved": True,
            "partial_rotary_factor": 0.25,
        },
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64, "patch_size": 16,
        "num_position_embeddings": 64, "initializer_range": 0.2,
    }  # fmt: skip
    named = {f"{part}_token_id": ids[f"<|{part}|>"] for part in ("vision_start", "vision_end")}
    return transformers.Qwen3_5Config(
        text_config=text, vision_config=vision, image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        **named,
    )  # fmt: skip


def _words(ids: dict[str, int]) -> dict[str, Any]:
    end = list(ids.values())[-1]
    return {"vocab_size": end + 5, "bos_token_id": None, "eos_token_id": end, "pad_token_id": next(iter(ids.values()))}


def _siglip() -> Any:
    return transformers.SiglipVisionConfig(**_SIGLIP, vision_use_head=False)


_GRIDS = [[28, 28], [28, 56], [56, 28], [56, 56]]
_SQUARE = {"height": 28, "width": 28}
STRANGERS = {
    "smolvlm": Stranger(
        (
            "<|endoftext|>", "<|im_start|>", "<image>", "<fake_token_around_image>", "<global-img>",
            *(f"<row_{row}_col_{column}>" for row in (1, 2, 3) for column in (1, 2, 3)), "<end_of_utterance>",
        ),
        {"image_token": "<image>", "end_of_utterance_token": "<end_of_utterance>"},
        _ROLES.replace("IMAGE", "<image>"),
        _smolvlm,
        lambda: transformers.SmolVLMImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        {"processor_class": "SmolVLMProcessor", "image_seq_len": 4},
        "parts",
    ),
    "internvl": Stranger(
        ("<|endoftext|>", "<|im_start|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>", "<|im_end|>"),
        {
            "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        _CHATML.replace("IMAGE", "<IMG_CONTEXT>\n"),
        _internvl,
        lambda: transformers.GotOcr2ImageProcessorPil(size=_SQUARE, crop_to_patches=True, min_patches=1, max_patches=4),
        {"processor_class": "InternVLProcessor", "image_seq_length": 4},
        "parts",
    ),
    "llava_onevision": Stranger(
        ("<|endoftext|>", "<|im_start|>", "<image>", "<video>", "<|im_end|>"),
        {},
        _CHATML.replace("IMAGE", "<image>\n"),
        _llava_onevision,
        lambda: transformers.LlavaOnevisionImageProcessorPil(size=_SQUARE, image_grid_pinpoints=_GRIDS),
        {
            "processor_class": "LlavaOnevisionProcessor", "num_image_tokens": 16, "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_4",
        },
        "parts",
    ),
    "gemma3": Stranger(
        (
            "<pad>", "<bos>", "<start_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>",
            "<end_of_turn>",
        ),
        {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
        _TURNS.replace("IMAGE", "<start_of_image>"),
        _gemma3,
        lambda: transformers.Gemma3ImageProcessorPil(size=_SQUARE, image_seq_length=4),
        {"processor_class": "Gemma3Processor", "image_seq_length": 4},
        "folded",
        _roughen_gemma,
    ),
    "qwen3_5": Stranger(
        (
            "<|endoftext|>", "<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
            "<|im_end|>",
        ),
        {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
        _CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
        _qwen3_5,
        lambda: transformers.Qwen2VLImageProcessorPil(
            patch_size=16, size={"shortest_edge": 32 * 32, "longest_edge": 128 * 128}
        ),
        {"processor_class": "Qwen3VLProcessor"},
        "parts",
    ),
}  # fmt: skip


def write_stranger(kind: str, folder: Path) -> Path:
    """Writes one.

    Args:
        kind: a name of `STRANGERS`.
        folder: new, or empty.

    Returns:
        `folder`.
    """
    stranger = STRANGERS[kind]
    tiny = replace(TINY.tiny, special_tokens=stranger.tokens, chat_template=stranger.template)
    raw = build_tokenizer(replace(TINY, end_token=stranger.tokens[-1], tiny=tiny))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw.backend_tokenizer, pad_token=stranger.tokens[0], eos_token=stranger.tokens[-1],
        bos_token="<bos>" if "<bos>" in stranger.tokens else None, extra_special_tokens=stranger.named,
        model_max_length=4096, chat_template=stranger.template,
    )  # fmt: skip
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in stranger.tokens}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForImageTextToText.from_config(stranger.config(ids))
        stranger.roughen(model)
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=[ids[stranger.tokens[-1]], ids[stranger.tokens[0]]], pad_token_id=ids[stranger.tokens[0]],
        do_sample=True, temperature=0.5, repetition_penalty=1.5,  # what would bend answers
    )  # fmt: skip
    for part in (model, tokenizer, stranger.images()):
        part.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(stranger.processor))
    return folder
