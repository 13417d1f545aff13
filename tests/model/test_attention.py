"""Shared prefixes are exact: tree = group = rows, in log-probabilities and in all gradients; and wrong layouts show."""

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
from fea.model.attention import TreeAttention, _causal
from fea.model.config import LayoutName, LoRA, VisionLoRA
from fea.model.layout import Layout, Tree, shared, trunk_of
from fea.model.policy import Policy

MakePolicy = Callable[..., Policy]
ROUGH = replace(SMALL, spread=0.3)
SIZES = {"tiny": ROUGH, "min_pixels": 784, "max_pixels": 224 * 224, "knowledge": "full"}
VARIANTS: dict[str, dict[str, Any]] = {
    "frozen tower": {},
    "trained tower": {"train_vision": True},
    "checkpointing": {"checkpointing": True, "train_vision": True},
    "lora": {"lora": LoRA(4, 8)},
    "lora, checkpointing": {"lora": LoRA(4, 8), "checkpointing": True},
    "lora on the tower, too": {"lora": LoRA(4, 8, vision=VisionLoRA(3))},
}
# Three completions of each of four prompts: long, short, of one token, one empty.
LENGTHS = torch.tensor([7, 2, 1, 5, 5, 5, 0, 3, 6, 1, 1, 4])
MASK = (torch.arange(7) < LENGTHS[:, None]).long()
IDS = torch.randint(1, 580, (12, 7), generator=torch.Generator().manual_seed(3)) * MASK


@pytest.fixture
def uneven(make_policy: MakePolicy, examples: list[Example], tmp_path: Path) -> list[Prompt]:
    """Prompts of four lengths, with images of one and of several windows, and of odd grids."""
    encoder = make_policy(**SIZES).encoder
    prompts = []
    for number, size in enumerate([(112, 112), (140, 196), (30, 30), (224, 101)]):
        path = tmp_path / f"{number}.png"
        Image.open(examples[number].image).resize(size).save(path)
        prompts.append(encoder(examples[number]._replace(image=str(path), question="Why? " * number)))
    assert len({len(prompt.ids) for prompt in prompts}) == 4
    return prompts


def stirred(policy: Policy) -> Policy:
    """Adapters start as a zero update; away from it both halves get a gradient."""
    torch.manual_seed(1)
    for name, parameter in policy.trainable().items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return policy


def result(policy: Policy, prompts: list[Prompt], layout: LayoutName) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Log-probabilities, entropies and the gradients of a random combination of them."""
    policy.config = replace(policy.config, layout=layout)
    policy.zero_grad()
    logps, entropies = policy.logps(prompts, IDS, MASK)
    (logps * torch.randn(IDS.shape, generator=torch.Generator().manual_seed(4))).sum().backward()
    gradients = {name: parameter.grad for name, parameter in policy.trainable().items()}
    return logps.detach(), entropies, {name: grad.clone() for name, grad in gradients.items() if grad is not None}


@pytest.mark.parametrize("layout", ["tree", "group"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_shared_prefixes_give_the_numbers_of_repeated_rows(
    make_policy: MakePolicy, uneven: list[Prompt], variant: str, layout: LayoutName
) -> None:
    policy = stirred(make_policy(**SIZES, **VARIANTS[variant])).train()
    expected, entropies, wanted = result(policy, uneven, "rows")
    logps, other_entropies, found = result(policy, uneven, layout)
    torch.testing.assert_close(logps, expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(other_entropies, entropies, rtol=0, atol=2e-5)
    assert wanted.keys() == found.keys() == policy.trainable().keys()
    for name, gradient in wanted.items():
        assert gradient.norm() > 0, name
        assert (found[name] - gradient).norm() / gradient.norm() < 1e-5, name


@pytest.mark.parametrize("four_bit", [False, True], ids=["bfloat16", "4 bits"])
def test_in_low_precision_the_layout_matters_less_than_the_batch_size(
    make_policy: MakePolicy, uneven: list[Prompt], tmp_path: Path, four_bit: bool
) -> None:
    """Against fp32, which knows the truth: the tree is as near to it as rows are, and rows one by one."""
    make_policy(**SIZES).save(tmp_path / "base")
    saved = {**SIZES, "base": str(tmp_path / "base"), "lora": LoRA(4, 8)}
    low = stirred(make_policy(**saved, dtype="bfloat16", four_bit=four_bit)).train()
    exact = stirred(make_policy(**saved, four_bit=four_bit)).train()

    def error(
        found: tuple[Tensor, Tensor, dict[str, Tensor]], true: tuple[Tensor, Tensor, dict[str, Tensor]]
    ) -> Tensor:
        gaps = [(found[2][name] - gradient).norm() / gradient.norm() for name, gradient in true[2].items()]
        return torch.stack([(found[0] - true[0]).abs().mean(), torch.stack(gaps).mean()])

    true = result(exact, uneven, "rows")
    tree, rows = (error(result(low, uneven, layout), true) for layout in ("tree", "rows"))
    assert (rows > 1e-3).all()  # low precision shows
    assert (tree < 1.25 * rows).all()


@pytest.mark.parametrize("first", [0, 940], ids=["trunk", "prompt"])
def test_in_low_precision_what_a_row_goes_on_from_is_rounded_as_within_it(first: int) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 1024, heads, 32).bfloat16() for heads in (16, 4, 4))
    whole = _causal(query, key, value, followed=False)
    part = _causal(query[:, first:1000], key[:, :1000], value[:, :1000], followed=True)
    assert torch.equal(part, whole[:, first:1000])


def test_one_prompt_has_no_trunk_and_others_share_the_text_before_the_image(
    make_policy: MakePolicy, uneven: list[Prompt]
) -> None:
    image_token = make_policy().network.image_token
    assert trunk_of(uneven[:1], image_token) == 0
    trunk = trunk_of(uneven, image_token)
    assert trunk > 500  # the knowledge
    assert all(int(prompt.ids[trunk]) == image_token for prompt in uneven)
    early = uneven[1].ids.clone()
    early[40] += 1
    assert trunk_of([uneven[0], uneven[1]._replace(ids=early), uneven[2]], image_token) == 40


# --- negative controls: every mistake that the equality above must catch is worth more than 0.05 nats ---


def logps_of(policy: Policy, prompts: list[Prompt], layout: Layout, plan: Any) -> Tensor:
    """Log-probabilities of the completions of a layout, in the order of the mask."""
    hidden = policy.network.read(layout, policy.network.features(prompts), plan)[layout.scored]
    log_p = policy.network.head(hidden).index_fill(-1, policy.network.forbidden, -torch.inf).log_softmax(-1)
    return log_p.gather(-1, layout.targets[:, None])[:, 0]


class Dense:
    """Attention under one mask over the whole row, after `fea.model.attention` has said nothing."""

    def __init__(self, visible: Tensor):
        self.visible = visible

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Plain masked softmax attention."""
        sharing = query.shape[1] // key.shape[1]
        q, k, v = (part.transpose(0, 1) for part in (query, key, value))
        k, v = k.repeat_interleave(sharing, 0), v.repeat_interleave(sharing, 0)
        scores = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).masked_fill(~self.visible, -torch.inf)
        return (scores.softmax(-1) @ v).transpose(0, 1)


def visible(tree: Tree) -> Tensor:
    """(L, L) who sees whom, written down from the definition."""
    node, parents = [], {0: None}
    node += [0] * tree.trunk
    for b, tokens in enumerate(tree.prompts):
        parents[1 + b] = 0
        node += [1 + b] * tokens
    for b, lengths in enumerate(tree.completions):
        for i, length in enumerate(lengths):
            number = 1000 * (b + 1) + i
            parents[number] = 1 + b
            node += [number] * length

    def ancestors(number: int | None) -> set[int]:
        return set() if number is None else {number} | ancestors(parents[number])

    size = len(node)
    return torch.tensor([[k <= q and node[k] in ancestors(node[q]) for k in range(size)] for q in range(size)])


@pytest.fixture
def case(make_policy: MakePolicy, uneven: list[Prompt]) -> tuple[Policy, list[Prompt], Layout, Tensor]:
    """A policy, its prompts, their tree, and the right log-probabilities."""
    policy = make_policy(**SIZES | {"knowledge": "brief"})
    prompts = [policy.encoder(prompt.example) for prompt in uneven]
    layout = shared(prompts, IDS, MASK, trunk_of(prompts, policy.network.image_token))
    policy.config = replace(policy.config, layout="rows")
    with torch.no_grad():
        expected = policy.logps(prompts, IDS, MASK)[0][MASK.bool()]
    return policy, prompts, layout, expected


@torch.no_grad()
def test_the_tree_is_what_the_dense_mask_says(case: tuple[Policy, list[Prompt], Layout, Tensor]) -> None:
    policy, prompts, layout, expected = case
    assert layout.tree is not None
    by_mask = logps_of(policy, prompts, layout, Dense(visible(layout.tree)))
    by_tree = logps_of(policy, prompts, layout, TreeAttention(layout.tree, torch.device("cpu")))
    torch.testing.assert_close(by_mask, expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(by_tree, expected, rtol=0, atol=2e-5)


@torch.no_grad()
def test_positions_that_do_not_restart_would_show(case: tuple[Policy, list[Prompt], Layout, Tensor]) -> None:
    policy, prompts, layout, expected = case
    assert layout.tree is not None
    running = layout._replace(positions=torch.arange(layout.ids.shape[1]).expand(3, 1, -1))
    wrong = logps_of(policy, prompts, running, TreeAttention(layout.tree, torch.device("cpu")))
    assert (wrong - expected).abs().max() > 0.05


@torch.no_grad()
def test_a_plain_causal_mask_would_show(case: tuple[Policy, list[Prompt], Layout, Tensor]) -> None:
    policy, prompts, layout, expected = case
    wrong = logps_of(policy, prompts, layout, None)
    assert (wrong - expected).abs().max() > 0.05


@torch.no_grad()
def test_a_neighbour_that_leaks_would_show(case: tuple[Policy, list[Prompt], Layout, Tensor]) -> None:
    policy, prompts, layout, expected = case
    assert layout.tree is not None
    leaking = visible(layout.tree)
    first = layout.tree.trunk + sum(layout.tree.prompts)
    one, two, _ = layout.tree.completions[0]
    leaking[first + one : first + one + two, first : first + one] = True
    gap = (logps_of(policy, prompts, layout, Dense(leaking)) - expected).abs()
    assert gap[one : one + two].max() > 0.05
    assert gap[one + two :].max() < 2e-5
