"""The laptop model: the family's real parts, a function of its size alone, without network or torchvision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import SMALL

from fea.drawn.wording import CORPUS
from fea.errors import FEAError
from fea.model.config import TinySize
from fea.model.families.known import TINY
from fea.model.families.qwen3_vl import QWEN3_VL
from fea.model.tiny import build_config, build_image_processor, build_model, build_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer(TINY)


def test_weights_are_a_function_of_the_size_alone(tokenizer: Any) -> None:
    torch.manual_seed(1)
    state, first = torch.get_rng_state(), build_model(TINY, tokenizer, SMALL).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = (
        build_model(TINY, tokenizer, SMALL).state_dict(),
        build_model(TINY, tokenizer, replace(SMALL, seed=1)).state_dict(),
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


@pytest.mark.parametrize(
    ("layers", "vision_layers", "given"), [(3, 2, [0]), (2, 5, [0]), (8, 3, [0, 1]), (8, 9, [0, 1, 2]), (3, 1, [])]
)
def test_deepstack_leaves_a_layer_of_both_parts_without(layers: int, vision_layers: int, given: list[int]) -> None:
    size = TinySize(layers=layers, vision_layers=vision_layers)
    config = build_config(QWEN3_VL, build_tokenizer(QWEN3_VL), size)
    assert config.vision_config.deepstack_visual_indexes == given
    assert config.text_config.head_dim * config.text_config.num_attention_heads > size.hidden  # as in the 4B model


def test_a_family_that_is_none_is_refused() -> None:
    with pytest.raises(FEAError, match=r"policy.tiny.family: 'gpt' .* name one of qwen3_vl, qwen2_5_vl, qwen2_vl"):
        TinySize(family="gpt")


def test_the_spread_is_that_of_the_weights(tokenizer: Any) -> None:
    state = build_model(TINY, tokenizer, replace(SMALL, spread=0.2)).state_dict()
    for name in ("lm_head.weight", "model.visual.blocks.0.attn.qkv.weight"):
        assert state[name].std().item() == pytest.approx(0.2, rel=0.05)


def test_it_is_the_familys_model_with_its_ends_and_vision_tokens(tokenizer: Any) -> None:
    model = build_model(TINY, tokenizer, SMALL)
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    ids = tokenizer.convert_tokens_to_ids
    assert model.generation_config.eos_token_id == [ids("<|im_end|>"), ids("<|endoftext|>")]
    assert model.config.image_token_id == ids("<|image_pad|>")
    assert model.config.vision_start_token_id == ids("<|vision_start|>")
    assert model.config.text_config.vocab_size == len(tokenizer)
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight


@pytest.mark.parametrize(
    "text", [*CORPUS[:3], "<think>AU12</think><answer>joy</answer>", "ß→🙂 \n\t x  y\r\n", "é", ""]
)
def test_any_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_the_tokenizer_is_the_same_every_time_and_keeps_special_tokens_whole(tokenizer: Any) -> None:
    assert build_tokenizer(TINY).get_vocab() == tokenizer.get_vocab()
    for token in ("<|im_end|>", "<|image_pad|>", "<|vision_start|>"):
        assert len(tokenizer(token, add_special_tokens=False)["input_ids"]) == 1


def test_the_template_writes_turns_as_the_family_does(tokenizer: Any) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
    ]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What is it?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_the_image_processor_is_the_one_without_torchvision() -> None:
    assert type(build_image_processor(TINY)).__name__ == "Qwen2VLImageProcessorPil"
