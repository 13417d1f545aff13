"""What the vision-language families of Qwen have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def rope_positions(ids: Tensor, grid: Tensor, image_token: int, merge: int) -> Tensor:
    """M-RoPE positions of a prompt with one image (Qwen2-VL, arXiv 2409.12191, section 2.1).

    Text counts up in all three rows; the image holds its first position in time and spreads over height and width; the text
    after it goes on from the larger of the two.

    Args:
        ids: (P,) token ids.
        grid: (3,) frames, rows and columns of patches.
        image_token: id of the placeholder.
        merge: patches merged along each side.

    Returns:
        (3, P).
    """
    import torch  # here, since settings read this file too and start without it

    at = int((ids == image_token).nonzero()[0])
    rows, columns = int(grid[1]) // merge, int(grid[2]) // merge
    after = len(ids) - at - rows * columns
    height, width = torch.arange(rows), torch.arange(columns)
    time = torch.zeros(rows * columns, dtype=torch.long)
    image = torch.stack([time, height.repeat_interleave(columns), width.repeat(rows)]) + at
    before = torch.arange(at).expand(3, -1)
    rest = (torch.arange(after) + at + max(rows, columns)).expand(3, -1)
    return torch.cat([before, image, rest], dim=1)


def text(hidden: int, inner: int, layers: int, heads: int, kv_heads: int, vocabulary: int) -> dict[str, Any]:
    """Of the language model of Qwen2-VL and Qwen2.5-VL, in the words of its config; both give positions the same sections."""
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }


def tiny_text(hidden: int, layers: int, heads: int) -> dict[str, Any]:
    """Of a small one, whose vocabulary is that of its own tokenizer."""
    eighth = hidden // heads // 8  # rotary dimensions are split 2 : 3 : 3 over time, height and width
    return {
        "hidden_size": hidden,
        "intermediate_size": 8 * hidden // 3,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "max_position_embeddings": 4096,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [eighth, 3 * eighth // 2, 3 * eighth // 2],
        },
    }


SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Fields of `Family` that are the same in all of them.
COMMON: dict[str, Any] = {
    "image_token": "<|image_pad|>",
    "end_token": "<|im_end|>",
    "never_sampled": {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    },
    "language_model": "model.language_model",
    "vision_tower": "model.visual",
    "vision_blocks": "blocks",
    "head": "lm_head",
    "merge": 2,
    "longest_side": 200,  # `smart_resize` of their image processor refuses longer strips
    "kept_whole": ("model.visual", "lm_head"),  # faces are in the one, log-probabilities in the other
    # Some of the towers have layers of the same names, so the path is part of it.
    "lora_targets": r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
    "positions": rope_positions,
}
