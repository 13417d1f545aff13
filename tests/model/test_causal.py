"""Families that are asked part by part: every layout has the numbers of their stock networks on each row alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_config
from exactness import IDS, MASK, Numbers, by_rows, compute_in_64_bits, numbers, worst
from PIL import Image
from strangers import STRANGERS, write_stranger
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.model.attention import TreeAttention
from fea.model.causal import Causal
from fea.model.config import LayoutName, LoRA
from fea.model.layout import lay_out
from fea.model.policy import Policy
from fea.model.reading import Leaves, parts_of
from fea.model.stock import Stock

MakePolicy = Callable[..., Policy]
KINDS = ("smolvlm", "internvl", "llava_onevision")
LAYOUTS: tuple[LayoutName, ...] = ("tree", "group", "rows")


@pytest.fixture(scope="module", params=KINDS)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the family, as a folder."""
    return write_stranger(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def make(base: Path) -> MakePolicy:
    """Builds a policy on it; keyword arguments change its `PolicyConfig`."""
    return lambda **changes: Policy(small_config(**{"base": str(base), **changes}), {})


@pytest.fixture
def uneven(make: MakePolicy, examples: list[Example], tmp_path: Path) -> list[Prompt]:
    """Two prompts of different lengths, with images of different sizes."""
    policy, prompts = make(), []
    for example, size in zip(examples, [(140, 196), (112, 48)], strict=False):
        path = tmp_path / f"{size[0]}.png"
        Image.open(example.image).resize(size).save(path)
        prompts.append(policy.encoder(example._replace(image=str(path), question="Why? " * (size[0] % 3))))
    return prompts


def of_layout(policy: Policy, prompts: list[Prompt], name: LayoutName) -> Numbers:
    network = policy.network
    layout = lay_out(name, prompts, IDS, MASK, network.image_token)
    tree = None if layout.tree is None else TreeAttention(layout.tree, network.device)
    hidden = network.read(layout, network.features(prompts), tree)[layout.scored]
    log_p = network.head(hidden).log_softmax(dim=-1)
    return numbers(policy.model, log_p.gather(-1, layout.targets[:, None])[:, 0])


def stock(base: Path) -> Any:
    """The network as transformers itself loads it."""
    return AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).train()


def test_prompts_have_a_trunk_and_images_are_seen_once(make: MakePolicy, uneven: list[Prompt]) -> None:
    policy = make().eval()
    assert isinstance(policy.network, Causal)
    looked = policy.look([*uneven, *uneven])
    for prompt, again in zip(looked, looked[2:], strict=False):
        assert prompt.features is not None
        assert prompt.features is again.features
        assert len(prompt.features.tokens) == int((prompt.ids == policy.network.image_token).sum())
    tree = lay_out("tree", uneven, IDS, MASK, policy.network.image_token)
    rows = lay_out("rows", uneven, IDS, MASK, policy.network.image_token)
    assert tree.tree is not None
    assert tree.tree.trunk > 10
    assert tree.ids.numel() < 0.6 * rows.ids.numel()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_the_values_and_gradients_of_the_stock_network_on_each_row_alone(
    make: MakePolicy, base: Path, uneven: list[Prompt], layout: LayoutName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 64 bits they are equal. In 32 values are; rounding takes gradients of the stock network itself by 1e-6 and more."""
    own, rounded = by_rows(stock(base), uneven, torch.float32), of_layout(make(train_vision=True), uneven, layout)
    assert own[0].abs().max() > 4
    assert (rounded[0] - own[0]).abs().max() < 1e-6 * own[0].abs().max()
    compute_in_64_bits(monkeypatch)
    policy, whole = make(train_vision=True), stock(base).double()
    policy.model.double()
    (expected, wanted), (found, gradients) = (
        by_rows(whole, uneven, torch.float64),
        of_layout(policy, uneven, layout),
    )
    assert (found - expected).abs().max() < 1e-10 * expected.abs().max()
    assert gradients.keys() == wanted.keys() == rounded[1].keys()
    assert worst(gradients, wanted) < 1e-10
    assert worst(rounded[1], wanted) < 1.5 * worst(own[1], wanted)


def test_layouts_have_the_gradients_of_each_other(make: MakePolicy, uneven: list[Prompt]) -> None:
    tree, *others = (of_layout(make(train_vision=True), uneven, layout)[1] for layout in LAYOUTS)
    for other in others:
        assert worst(other, {name: gradient.double() for name, gradient in tree.items()}) < 1e-5


def test_parts_of_a_group_have_the_gradients_of_the_whole(make: MakePolicy, uneven: list[Prompt]) -> None:
    policy = make(lora=LoRA(4, 8), checkpointing=True).train()
    for name, weight in policy.trainable().items():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(0))
    policy.logps(uneven, IDS, MASK)[0].sum().backward()
    whole = {name: weight.grad.double().clone() for name, weight in policy.trainable().items()}
    policy.zero_grad()
    leaves = Leaves(policy.read(uneven)[1])
    assert leaves.read is not None
    for ids, mask in zip(parts_of(IDS, 2, 2), parts_of(MASK, 2, 2), strict=True):
        leaves.learn(policy.logps(uneven, ids, mask, read=leaves.read)[0].sum())
    leaves.joined(torch.tensor(0.0), 1, policy.trainable().values()).backward()
    assert min(gradient.norm() for gradient in whole.values()) > 0
    assert worst({name: weight.grad for name, weight in policy.trainable().items()}, whole) < 1e-5


def test_a_language_model_with_windows_shares_nothing(base: Path, tmp_path: Path) -> None:
    if "smolvlm" in base.name:
        pytest.skip("its language model knows no windows")
    folder = write_stranger(next(kind for kind in KINDS if kind in base.name), tmp_path / "base")
    config = AutoConfig.from_pretrained(folder)
    config.text_config.layer_types = ["sliding_attention", "full_attention"]
    config.text_config.use_sliding_window, config.text_config.sliding_window = True, 24
    config.save_pretrained(folder)
    policy = Policy(small_config(base=str(folder)), {})
    assert isinstance(policy.network, Stock)
    assert policy.config.layout == "rows"
    assert set(KINDS) < set(STRANGERS)
