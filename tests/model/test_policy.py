"""Log-probabilities against the whole network of transformers, one unpadded row at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL
from PIL import Image
from torch import Tensor

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.model.config import LoRA, VisionLoRA
from fea.model.policy import Policy

MakePolicy = Callable[..., Policy]
ROUGH = replace(SMALL, spread=0.3)
SIZES = {"tiny": ROUGH, "min_pixels": 784, "max_pixels": 224 * 224}
# Two completions of each of two prompts, 4, 1, 7 and 2 tokens long, the last of them an end token.
LENGTHS = [4, 1, 7, 2]
MASK = (torch.arange(7) < torch.tensor(LENGTHS)[:, None]).long()
IDS = torch.randint(1, 580, (4, 7), generator=torch.Generator().manual_seed(3)) * MASK
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "full with the vision tower": {"train_vision": True},
    "full, checkpointing": {"checkpointing": True},
    "lora": {"lora": LoRA(4, 8)},
    "lora, checkpointing": {"lora": LoRA(4, 8), "checkpointing": True},
    "lora on the tower, too": {"lora": LoRA(4, 8, vision=VisionLoRA(3))},
}


@pytest.fixture
def uneven(make_policy: MakePolicy, examples: list[Example], tmp_path: Path) -> list[Prompt]:
    """Two prompts of different lengths, with images of different sizes."""
    encoder = make_policy(**SIZES).encoder
    Image.open(examples[1].image).resize((140, 196)).save(tmp_path / "tall.png")
    tall = examples[1]._replace(image=str(tmp_path / "tall.png"), question="Which emotion, and why?")
    return [encoder(examples[0]), encoder(tall)]


def stirred(policy: Policy) -> Policy:
    """Adapters start as a zero update; away from it both halves get a gradient."""
    torch.manual_seed(1)
    for name, parameter in policy.trainable().items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return policy


def by_transformers(policy: Policy, prompts: list[Prompt], temperature: float) -> tuple[Tensor, Tensor]:
    """Full logits of each row by itself, softmax over the allowed tokens."""
    logps, entropies = torch.zeros(IDS.shape), torch.zeros(IDS.shape)
    for row, length in enumerate(LENGTHS):
        prompt = prompts[row // 2]
        ids = torch.cat([prompt.ids, IDS[row, :length]])[None]
        logits = policy.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == policy.network.image_token).int(),
            pixel_values=prompt.pixels,
            image_grid_thw=prompt.grid[None],
            use_cache=False,
        ).logits[0, len(prompt.ids) - 1 : -1]
        allowed = torch.ones(logits.shape[-1], dtype=torch.bool).index_fill(0, policy.network.forbidden, False)
        log_p = (logits.float() / temperature).masked_fill(~allowed, -torch.inf).log_softmax(-1)
        logps[row, :length] = log_p[range(length), IDS[row, :length]]
        entropies[row, :length] = torch.distributions.Categorical(logits=log_p[:, allowed]).entropy().detach()
    return logps, entropies


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("variant", VARIANTS)
def test_log_probabilities_and_gradients_equal_the_whole_network_of_transformers(
    make_policy: MakePolicy, uneven: list[Prompt], variant: str, temperature: float
) -> None:
    policy = stirred(make_policy(**SIZES, **VARIANTS[variant])).train()
    weights = torch.randn(IDS.shape, generator=torch.Generator().manual_seed(4))

    def gradients(logps: Tensor) -> dict[str, Tensor]:
        return dict(
            zip(
                policy.trainable(),
                torch.autograd.grad((logps * weights).sum(), [*policy.trainable().values()]),
                strict=True,
            )
        )

    expected, expected_entropies = by_transformers(policy, uneven, temperature)
    logps, entropies = policy.logps(uneven, IDS, MASK, temperature)
    assert logps.dtype == torch.float32
    torch.testing.assert_close(logps, expected, rtol=0, atol=5e-5)
    torch.testing.assert_close(entropies, expected_entropies, rtol=0, atol=5e-5)
    assert not entropies.requires_grad
    wanted = gradients(expected)
    for name, gradient in gradients(logps).items():
        scale = wanted[name].norm()
        assert scale > 0, name
        assert (gradient - wanted[name]).norm() / scale < 2e-4, name


def test_plain_positions_would_show(make_policy: MakePolicy, uneven: list[Prompt]) -> None:
    """The comparison above has teeth: text positions that ignore the image's shape change the numbers."""
    policy = make_policy(**SIZES)
    plain = [prompt._replace(positions=torch.arange(len(prompt.ids)).expand(3, -1)) for prompt in uneven]
    gap = (policy.logps(plain, IDS, MASK)[0] - policy.logps(uneven, IDS, MASK)[0]).abs().max()
    assert gap > 1e-2


def test_checkpointing_recomputes_layers_and_changes_no_bit(make_policy: MakePolicy, uneven: list[Prompt]) -> None:
    calls, results = [], []
    for checkpointing in (False, True):
        torch.manual_seed(0)  # of the first factors of a fresh adapter
        policy = stirred(make_policy(**SIZES, lora=LoRA(4, 8), checkpointing=checkpointing)).train()
        count = 0

        def counted(*_: object) -> None:
            nonlocal count
            count += 1

        policy.network.language_model.layers[0].mlp.register_forward_pre_hook(counted)
        logps, _ = policy.logps(uneven, IDS, MASK)
        logps.sum().backward()
        calls.append(count)
        results.append([logps.detach(), *(p.grad for p in policy.trainable().values())])
    assert calls == [1, 2]
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_padding_is_never_read_and_gets_zero(make_policy: MakePolicy, uneven: list[Prompt]) -> None:
    policy = make_policy(**SIZES)
    logps, entropies = policy.logps(uneven, IDS, MASK)
    other, _ = policy.logps(uneven, torch.where(MASK.bool(), IDS, 77), MASK)
    assert torch.equal(logps, other)
    assert not logps[MASK == 0].any()
    assert not entropies[MASK == 0].any()
    wider, _ = policy.logps(uneven, *(torch.nn.functional.pad(tensor, (0, 5)) for tensor in (IDS, MASK)))
    assert torch.equal(wider[:, :7], logps)


def test_an_empty_completion_is_legal(make_policy: MakePolicy, uneven: list[Prompt]) -> None:
    policy = make_policy(**SIZES)
    mask = MASK * torch.tensor([1, 0, 1, 1])[:, None]
    logps, _ = policy.logps(uneven, IDS, mask)
    assert not logps[1].any()
    torch.testing.assert_close(logps[2:], policy.logps(uneven, IDS, MASK)[0][2:], rtol=0, atol=1e-6)


def test_groups_and_their_order_do_not_change_log_probabilities(make_policy: MakePolicy, uneven: list[Prompt]) -> None:
    policy = make_policy(**SIZES)
    logps, _ = policy.logps(uneven, IDS, MASK)
    swapped, _ = policy.logps(uneven[::-1], IDS[[2, 3, 0, 1]], MASK[[2, 3, 0, 1]])
    torch.testing.assert_close(swapped[[2, 3, 0, 1]], logps, rtol=0, atol=2e-5)
    apart = [policy.logps([uneven[b]], IDS[2 * b : 2 * b + 2], MASK[2 * b : 2 * b + 2])[0] for b in range(2)]
    torch.testing.assert_close(torch.cat(apart), logps, rtol=0, atol=2e-5)


def test_train_mode_and_eval_mode_agree_to_the_bit(make_policy: MakePolicy, uneven: list[Prompt]) -> None:
    """No dropout anywhere: what was sampled in one mode is trained in the other."""
    policy = stirred(make_policy(**SIZES, lora=LoRA(4, 8)))
    assert torch.equal(policy.eval().logps(uneven, IDS, MASK)[0], policy.train().logps(uneven, IDS, MASK)[0])


def test_the_image_is_seen(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    policy = make_policy(tiny=ROUGH)
    ids, mask = IDS[:2], MASK[:2]
    swapped = [prompts[0]._replace(pixels=prompts[1].pixels)]
    assert (policy.logps(prompts[:1], ids, mask)[0] - policy.logps(swapped, ids, mask)[0]).abs().max() > 1e-2


@pytest.mark.parametrize("text", ["<think>AU12 (x).</think><answer>joy</answer>", "</think>", "ü🙂 a</think>b"])
def test_tokens_until_is_the_least_number_that_writes_so_many_characters(make_policy: MakePolicy, text: str) -> None:
    policy = make_policy()
    ids = torch.tensor([*policy.network.tokenizer(text)["input_ids"], policy.network.ends[0]])
    until = text.index("</think>") + len("</think>")
    count = policy.tokens_until(ids, until)
    assert policy.network.decode(ids[:count]).startswith(text[:until])
    assert not policy.network.decode(ids[: count - 1]).startswith(text[:until])
    assert policy.tokens_until(ids, 0) == 0
    assert policy.tokens_until(ids, 10_000) == len(ids)
