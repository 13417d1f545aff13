"""Rollouts: the tokens that plain generation writes, the noise that belongs to the example, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import SMALL
from hearing import heard_while
from PIL import Image
from torch import Tensor

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.logprobs import logits
from fea.model import decoding
from fea.model.cache import Trunk
from fea.model.config import LoRA
from fea.model.layout import trunk_of
from fea.model.policy import Policy
from fea.model.sampling import Completions, Generation, noise

MakePolicy = Callable[..., Policy]
ROUGH = replace(SMALL, spread=0.3)  # far from the uniform distribution, so that a wrong position or mask shows
SIZES = {"tiny": ROUGH, "min_pixels": 784, "max_pixels": 224 * 224}
LONG = Generation(12)


@pytest.fixture
def policy(make_policy: MakePolicy) -> Policy:
    """Many tokens end a completion, so that lengths differ."""
    policy = make_policy(**SIZES)
    policy.network.ends = [*policy.network.ends, *range(0, 500, 15)]
    return policy


@pytest.fixture
def uneven(policy: Policy, examples: list[Example], tmp_path: Path) -> list[Prompt]:
    """Prompts of four lengths, with images of four sizes."""
    prompts = []
    for number, size in enumerate([(112, 112), (140, 196), (30, 30), (224, 101)]):
        path = tmp_path / f"{number}.png"
        Image.open(examples[number].image).resize(size).save(path)
        prompts.append(policy.encoder(examples[number]._replace(image=str(path), question="Why? " * number)))
    assert len({len(prompt.ids) for prompt in prompts}) == 4
    return prompts


def generated(policy: Policy, prompt: Prompt, tokens: int) -> list[int]:
    """What transformers' own greedy generation adds to one prompt, unpadded."""
    ids = prompt.ids[None]
    output = policy.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == policy.network.image_token).int(),
        pixel_values=prompt.pixels,
        image_grid_thw=prompt.grid[None],
        do_sample=False,
        max_new_tokens=tokens,
        suppress_tokens=policy.network.forbidden.tolist(),
        eos_token_id=policy.network.ends,
        pad_token_id=0,
    )
    return [int(token) for token in output[0, len(prompt.ids) :]]


def written(completions: Completions) -> list[list[int]]:
    return [row[kept.bool()].tolist() for row, kept in zip(completions.ids, completions.mask, strict=True)]


def sample(
    policy: Policy, prompts: list[Prompt], group: int, generation: Generation = LONG, seed: int = 0
) -> Completions:
    ids = [prompt.example.id for prompt in prompts]
    return policy.rollout(prompts, group, generation, noise(ids, group, generation.max_tokens, seed, 0))


def prefer_forbidden_tokens(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the tokens that must not be sampled are the most probable, whatever the state."""
    monkeypatch.setattr(
        decoding, "logits", lambda hidden, head: logits(hidden, head).index_fill(-1, policy.network.forbidden, 100.0)
    )


# --- greedy ---


def test_tokens_are_told_of_as_they_come(policy: Policy, uneven: list[Prompt]) -> None:
    told = heard_while(lambda heard: policy.rollout(uneven, 1, LONG, None, heard=heard))
    whole = written(policy.rollout(uneven, 1, LONG, None))
    longest = max(map(len, whole))
    assert len(told) == min(longest + 1, LONG.max_tokens)
    for number, rows in enumerate(told[:-1]):
        assert rows == [row[: number + 1] for row in whole]
    assert told[-1] == whole


def test_greedy_rollouts_equal_generate_for_prompts_of_different_lengths(policy: Policy, uneven: list[Prompt]) -> None:
    completions = policy.rollout(uneven, 1, LONG, None)
    assert written(completions) == [generated(policy, prompt, 12) for prompt in uneven]
    assert len({tuple(row) for row in written(completions)}) == 4
    assert len(set(map(len, written(completions)))) > 1


def test_a_long_trunk_is_there_once_and_changes_no_token(make_policy: MakePolicy, uneven: list[Prompt]) -> None:
    """Short ones are copied before each prompt, so that the tests around this one do not see it apart."""
    policy = make_policy(**SIZES, knowledge="full")
    policy.network.ends = [*policy.network.ends, *range(0, 500, 15)]
    prompts = [policy.encoder(prompt.example) for prompt in uneven]
    assert trunk_of(prompts, policy.network.image_token) > 500
    assert written(policy.rollout(prompts, 1, LONG, None)) == [generated(policy, prompt, 12) for prompt in prompts]
    whole = written(sample(policy, prompts, 4))
    assert [row for prompt in prompts for row in written(sample(policy, [prompt], 4))] == whole
    assert len({tuple(row) for row in whole}) > 12


def test_what_prompts_begin_with_is_read_once_for_all_batches(policy: Policy, uneven: list[Prompt]) -> None:
    read: list[int] = []
    policy.network.language_model.register_forward_pre_hook(
        lambda _, __, options: read.append(options["inputs_embeds"].shape[1]), with_kwargs=True
    )

    def batches(trunk: Trunk | None) -> list[list[int]]:
        read.clear()
        one = Generation(1)  # nothing is read but the prompts
        return [row for n in (0, 2) for row in written(policy.rollout(uneven[n : n + 2], 1, one, None, trunk))]

    alone, whole = batches(None), list(read)
    trunk = Trunk()
    assert batches(trunk) == alone
    assert trunk.length > 5
    assert read == [whole[0], whole[1] - trunk.length]
    other = [uneven[3]._replace(ids=uneven[3].ids + (torch.arange(len(uneven[3].ids)) == 0))]
    assert not trunk.begins(other)
    assert written(policy.rollout(other, 1, LONG, None, trunk)) == written(policy.rollout(other, 1, LONG, None))
    long = policy.rollout(uneven, 2, LONG, noise(["a", "b", "c", "d"], 2, 12, 0, 0), trunk)
    assert written(long) == written(policy.rollout(uneven, 2, LONG, noise(["a", "b", "c", "d"], 2, 12, 0, 0)))


def test_checkpointing_does_not_change_a_rollout(policy: Policy, make_policy: MakePolicy, uneven: list[Prompt]) -> None:
    saving = make_policy(**SIZES, checkpointing=True)
    saving.network.ends = policy.network.ends
    assert written(saving.rollout(uneven, 1, LONG, None)) == written(policy.rollout(uneven, 1, LONG, None))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_rollout_in_train_mode_is_refused(
    make_policy: MakePolicy, prompts: list[Prompt], checkpointing: bool
) -> None:
    policy = make_policy(checkpointing=checkpointing).train()
    with pytest.raises(RuntimeError, match="eval mode"):
        policy.rollout(prompts, 1, LONG, None)


def test_generation_settings_of_the_base_do_not_leak_into_samples(
    policy: Policy, make_policy: MakePolicy, prompts: list[Prompt], tmp_path: Path
) -> None:
    """The published models ask for temperature 1e-6 and a repetition penalty; training would optimize another policy."""
    policy.save(tmp_path)
    settings = json.loads((tmp_path / "generation_config.json").read_text())
    settings |= {"do_sample": True, "temperature": 1e-6, "repetition_penalty": 1.5, "top_k": 1, "top_p": 0.01}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    leaky = make_policy(base=str(tmp_path))
    leaky.network.ends = policy.network.ends
    assert written(sample(leaky, prompts, 2)) == written(sample(policy, prompts, 2))


def test_the_bases_padding_side_does_not_matter(
    policy: Policy, make_policy: MakePolicy, uneven: list[Prompt], tmp_path: Path
) -> None:
    policy.save(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"padding_side": "right"}))
    other = make_policy(**SIZES | {"base": str(tmp_path)})
    other.network.ends = policy.network.ends
    assert other.network.tokenizer.padding_side == "right"
    assert written(other.rollout(uneven, 1, LONG, None)) == written(policy.rollout(uneven, 1, LONG, None))


# --- sampled ---


@pytest.mark.parametrize("temperature", [1.0, 0.5, 1.7])
@pytest.mark.parametrize("lora", [None, LoRA(4, 8)])
def test_log_probabilities_while_sampling_are_those_of_training(
    make_policy: MakePolicy, uneven: list[Prompt], temperature: float, lora: LoRA | None
) -> None:
    policy = make_policy(**SIZES, lora=lora)
    torch.manual_seed(0)
    for name, parameter in policy.trainable().items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    policy.network.ends = [*policy.network.ends, *range(0, 500, 15)]
    completions = sample(policy, uneven, 3, Generation(12, temperature))
    logps, _ = policy.train().logps(uneven, completions.ids, completions.mask, temperature)
    torch.testing.assert_close(completions.logps, logps, rtol=0, atol=5e-5)
    assert completions.mask.sum(1).unique().numel() > 1


def test_samples_do_not_depend_on_batch_order_or_group(policy: Policy, uneven: list[Prompt]) -> None:
    whole = written(sample(policy, uneven, 4))
    assert len({tuple(row) for row in whole}) > 12
    reordered = written(sample(policy, uneven[::-1], 4))
    assert [reordered[4 * b + i] for b in (3, 2, 1, 0) for i in range(4)] == whole
    assert [row for prompt in uneven for row in written(sample(policy, [prompt], 4))] == whole
    assert written(sample(policy, uneven, 2)) == [whole[4 * b + i] for b in range(4) for i in range(2)]
    assert written(sample(policy, uneven, 4, Generation(5))) == [row[:5] for row in whole]
    assert written(sample(policy, uneven, 4, seed=1)) != whole


def test_a_completion_ends_with_its_end_token_which_counts(policy: Policy, uneven: list[Prompt]) -> None:
    completions = sample(policy, uneven, 8)
    for ids, mask, logps, truncated, text in zip(*completions, strict=True):
        length = int(mask.sum())
        tokens = ids[:length].tolist()
        assert mask.tolist() == [1] * length + [0] * (len(mask) - length)
        assert not any(token in policy.network.ends for token in tokens[:-1])
        assert (tokens[-1] in policy.network.ends) != bool(truncated)
        assert not truncated or length == 12
        assert not ids[length:].any()
        assert not logps[length:].any()
        assert (logps[:length] < 0).all()
        assert text == policy.network.tokenizer.decode(tokens, skip_special_tokens=True)
    assert 0 < int(completions.truncated.sum()) < len(completions.truncated)


def test_an_end_token_on_the_last_place_is_not_a_truncation(policy: Policy, uneven: list[Prompt]) -> None:
    completions = sample(policy, uneven, 8)
    lengths = completions.mask.sum(1)
    row = int((~completions.truncated & (lengths > 1)).nonzero()[0])
    exact = sample(policy, uneven, 8, Generation(int(lengths[row])))
    assert not exact.truncated[row]
    assert sample(policy, uneven, 8, Generation(int(lengths[row]) - 1)).truncated[row]


def test_a_rollout_stops_when_all_have_ended(policy: Policy, uneven: list[Prompt]) -> None:
    policy.network.ends = list(range(594))
    completions = sample(policy, uneven, 2)
    assert completions.ids.shape == (8, 1)
    assert not completions.truncated.any()


def test_image_and_vision_tokens_are_never_sampled(
    policy: Policy, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefer_forbidden_tokens(policy, monkeypatch)
    for completions in (sample(policy, prompts, 4), policy.rollout(prompts, 1, LONG, None)):
        assert not torch.isin(completions.ids, policy.network.forbidden).any()
        assert completions.logps.isfinite().all()


def test_sampled_ids_are_kept_and_not_made_again_from_the_text(policy: Policy, prompts: list[Prompt]) -> None:
    completions = sample(policy, prompts, 8)
    again = [policy.network.tokenizer(text)["input_ids"] for text in completions.texts]
    assert again != written(completions)  # the tokenizer splits the same text otherwise
    assert [policy.network.decode(torch.tensor(row)) for row in written(completions)] == completions.texts


def test_a_rollout_leaves_no_trace(policy: Policy, prompts: list[Prompt]) -> None:
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    first = sample(policy, prompts, 2)
    policy.rollout(prompts[2:], 1, LONG, None)
    again = sample(policy, prompts, 2)
    assert torch.equal(first.ids, again.ids)
    assert torch.equal(first.logps, again.logps)
    assert not first.logps.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())


def test_each_image_goes_through_the_tower_once_a_rollout(
    policy: Policy, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    monkeypatch.setattr(
        policy.network.vision_tower, "forward", lambda pixels, *a, _forward=policy.network.vision_tower.forward, **k: (
            seen.append(pixels), _forward(pixels, *a, **k))[1]
    )  # fmt: skip
    sample(policy, prompts[:2], 4)
    assert [len(pixels) for pixels in seen] == [sum(len(prompt.pixels) for prompt in prompts[:2])]
