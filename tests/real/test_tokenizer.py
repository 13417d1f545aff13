"""The tokenizer of Qwen2.5-VL itself: what answers are made of, what may be written, how long prompts are."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import FACE_PIXELS, SMALL
from transformers import AutoTokenizer, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from fea.data.example import Example
from fea.facs import emotion_set
from fea.model.config import PolicyConfig
from fea.model.families.known import TINY
from fea.model.load import count_tokens
from fea.model.policy import Policy
from fea.model.sampling import Generation
from fea.model.tiny import build_image_processor
from fea.prompts.answer import parse, render
from fea.prompts.prompt import system_prompt, user_prompt

from .fetching import qwen_tokenizer

pytestmark = pytest.mark.real
ROWS = 151_936  # of the published 3B model: more than there are tokens
ANALYSIS = "The cheeks are up (AU6). The mouth corners are pulled back (AU12), with wrinkles at the eyes."


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow Qwen2.5-VL with random weights and the published vocabulary."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = AutoTokenizer.from_pretrained(qwen_tokenizer(TINY.tiny.chat_template))
    sizes = TINY.tiny.dimensions(SMALL.hidden, SMALL.layers, SMALL.heads, SMALL.vision_hidden, SMALL.vision_layers)
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in TINY.never_sampled.items()}
    config = Qwen2_5_VLConfig(
        text_config={**sizes.text, "vocab_size": ROWS},
        vision_config=dict(sizes.vision),
        tie_word_embeddings=True,
        **ids,
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = [151_645, 151_643]
    for part in (model, tokenizer, build_image_processor(TINY)):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def policy(base: Path) -> Policy:
    pixels = {"min_pixels": FACE_PIXELS, "max_pixels": FACE_PIXELS}
    return Policy(PolicyConfig(base=str(base), **pixels), {}).eval()


def words(policy: Policy, text: str) -> list[str]:
    """The pieces that a text is read as."""
    tokenizer = policy.network.tokenizer
    return [tokenizer.decode([token]) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]


def test_it_is_the_one_that_was_published(policy: Policy) -> None:
    tokenizer = policy.network.tokenizer
    assert isinstance(tokenizer, Qwen2Tokenizer)
    assert len(tokenizer) == 151_665
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>", "<|image_pad|>")}
    assert list(ids.values()) == [151_645, 151_643, 151_655]
    assert policy.network.ends == [151_645, 151_643]


def test_tags_are_text_and_digits_come_one_by_one(policy: Policy) -> None:
    assert words(policy, "<think>") == ["<th", "ink", ">"]
    assert words(policy, "a unit (AU12).") == ["a", " unit", " (", "AU", "1", "2", ")."]
    assert words(policy, "</think><answer>") == ["</", "think", "><", "answer", ">"]  # tags run into each other


def test_the_chat_is_written_with_its_own_tokens(policy: Policy, examples: list[Example]) -> None:
    prompt = policy.encoder(examples[0])
    text = policy.network.tokenizer.decode(prompt.ids)
    image = "<|vision_start|>" + "<|image_pad|>" * 16 + "<|vision_end|>"
    asked = user_prompt(examples[0].question, examples[0].emotions)
    assert text == (
        f"<|im_start|>system\n{system_prompt('full')}<|im_end|>\n<|im_start|>user\n{image}{asked}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    own = policy.network.tokenizer.apply_chat_template(
        [
            {"role": "system", "content": system_prompt("full")},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": asked}]},
        ],
        add_generation_prompt=True,
        return_dict=True,
    )["input_ids"]
    assert [token for token in prompt.ids.tolist() if token != 151_655] == [token for token in own if token != 151_655]


def test_text_and_ends_alone_may_be_written(policy: Policy) -> None:
    forbidden = set(policy.network.forbidden.tolist())
    assert forbidden >= {151_644, 151_652, 151_653, 151_655, 151_656}  # a turn, and what would break the next pass
    assert not forbidden & {*range(151_643), 151_643, 151_645}
    assert forbidden >= set(range(151_665, ROWS))  # rows that no token has
    plain = {"<tool_call>", "</tool_call>"}  # marked as text in the tokenizer
    assert not forbidden & set(policy.network.tokenizer.convert_tokens_to_ids(sorted(plain)))


def test_an_answer_comes_back_as_it_was_taught(policy: Policy) -> None:
    text = render(ANALYSIS, "happiness")
    ids = policy.encoder.target(text)
    assert ids[-1] == 151_645
    assert policy.network.decode(ids) == text  # the end is no text
    answer = parse(policy.network.decode(ids), emotion_set("basic7"))
    assert (sorted(answer.aus), answer.emotion, answer.well_formed) == ([6, 12], "happiness", True)
    for spelled in ("<|im_end|>", "<|image_pad|>", "<|endoftext|>"):
        read = policy.encoder.target(f"It spells {spelled} out.")[:-1]
        assert not set(read.tolist()) & set(range(151_643, 151_665))


def test_prompts_are_as_long_as_is_planned(policy: Policy, examples: list[Example]) -> None:
    prompt = policy.encoder(examples[0])
    lengths = {"prompt": len(prompt.ids), "of knowledge": count_tokens(policy.config, system_prompt("full"))}
    print(lengths, "tokens of an analysis:", count_tokens(policy.config, render(ANALYSIS, "happiness")))
    assert 600 < lengths["of knowledge"] < 900
    assert len(prompt.ids) <= policy.encoder.most_tokens(examples[0])
    elsewhere = PolicyConfig(base="Qwen/Qwen2.5-VL-3B-Instruct")  # whose tokenizer is not here: tokens are estimated
    for text in (system_prompt("full"), user_prompt("", emotion_set("basic7")), render(ANALYSIS, "happiness")):
        found, estimate = count_tokens(policy.config, text), count_tokens(elsewhere, text)
        print(f"{found} tokens, estimated as {estimate}")
    assert found <= estimate


def test_a_model_with_it_is_sampled_and_scored(policy: Policy, examples: list[Example]) -> None:
    prompts = [policy.encoder(example) for example in examples[:2]]
    ids, mask, logps = policy.rollout(prompts, 2, Generation(6), torch.rand(4, 6).double())[:3]
    torch.testing.assert_close(policy.logps(prompts, ids, mask)[0], logps, rtol=1e-4, atol=1e-5)
    assert not set(ids[mask.bool()].tolist()) & set(policy.network.forbidden.tolist())


def test_its_vocabulary_is_not_that_of_a_smaller_model(base: Path, tmp_path: Path) -> None:
    from fea.errors import FEAError

    other = tmp_path / "base"
    Policy(PolicyConfig(tiny=replace(SMALL)), {}).save(other)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, other / name)
    with pytest.raises(FEAError, match=r"has a tokenizer of 151665 tokens, and by its config\.json 594 rows"):
        Policy(PolicyConfig(base=str(other)), {})
