"""The vision tower computes what it would by itself: for images of all shapes, in the towers of several families."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from conftest import SMALL
from PIL import Image
from torch import Tensor, nn

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.model import vision
from fea.model.config import LoRA
from fea.model.families.known import TINY
from fea.model.policy import Policy
from fea.model.tiny import build_model, build_tokenizer

MakePolicy = Callable[..., Policy]
WIDE = {"depth": 2, "hidden_size": 64, "num_heads": 4, "intermediate_size": 96, "out_hidden_size": 64}
TOWERS = {
    "Qwen2_5_VL": {**WIDE, "fullatt_block_indexes": [1], "window_size": 112},
    "Qwen2VL": {"depth": 2, "embed_dim": 64, "num_heads": 4, "mlp_ratio": 2, "hidden_size": 64},
    "Qwen3VL": {**WIDE, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]},
}
TEXT = {"vocab_size": 8, "hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
# Grids of patches: windows that are all whole, one image smaller than a window, and strips cut by the edges of windows.
GRIDS = {
    "whole windows": [[1, 16, 8]],
    "one small": [[1, 4, 6]],
    "odd": [[1, 22, 30], [1, 2, 40], [1, 8, 8], [1, 10, 4]],
    "many": [[1, 8, 8]] * 5 + [[1, 12, 8]] * 3,
}


def tower_of(name: str) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(vision_config=TOWERS[name], text_config=TEXT)
    return getattr(transformers, f"{name}Model")._from_config(config, attn_implementation="sdpa").visual.eval()


class Whole:
    """As much of a model as `install` wants."""

    def __init__(self, tower: Any):
        self.tower = tower

    def set_attn_implementation(self, names: dict[str, str]) -> None:
        self.tower.config._attn_implementation = names["vision_config"]


def pixels(tower: Any, grid: Tensor) -> Tensor:
    width = next(module for module in tower.modules() if isinstance(module, nn.Conv3d)).weight[0].numel()
    return torch.randn(int(grid.prod(dim=1).sum()), width)


def read(tower: Any, patches: Tensor, grid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Features, and the gradient of every weight."""
    tower.zero_grad()
    features = tower(patches, grid).pooler_output
    (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
    return features.detach(), {
        name: weight.grad for name, weight in tower.named_parameters() if weight.grad is not None
    }


@pytest.mark.parametrize("grids", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("name", TOWERS)
def test_windows_in_one_call_and_patches_in_one_product_change_nothing(name: str, grids: list[list[int]]) -> None:
    """To the rounding of sums: those of 1,176 products of pixels come in another order."""
    stock = tower_of(name)
    ours, grid = deepcopy(stock), torch.tensor(grids)
    vision.multiply_patches(ours)
    vision.install(Whole(ours), ours.blocks)
    patches = pixels(stock, grid)
    (found, moved), (expected, stirred) = read(ours, patches, grid), read(stock, patches, grid)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert moved.keys() == stirred.keys() >= {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight"}
    for weight, gradient in stirred.items():
        torch.testing.assert_close(moved[weight], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))


@pytest.mark.parametrize(("grids", "sizes"), [("whole windows", 1), ("one small", 1), ("odd", 6), ("many", 2)])
def test_a_call_reads_all_windows_of_a_size(grids: str, sizes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tower, grid = tower_of("Qwen2_5_VL"), torch.tensor(GRIDS[grids])
    vision.install(Whole(tower), tower.blocks[:1])
    tower.blocks = tower.blocks[:1]
    asked: list[torch.Size] = []
    kernel = F.scaled_dot_product_attention

    def counted(query: Tensor, *others: Tensor, **options: Any) -> Tensor:
        asked.append(query.shape)
        return kernel(query, *others, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    tower(pixels(tower, grid), grid)
    assert len(asked) == len({shape[2] for shape in asked}) == sizes
    assert sum(shape[0] * shape[2] for shape in asked) == grid.prod(dim=1).sum()


def test_the_weights_keep_their_names(make_policy: MakePolicy) -> None:
    stock = build_model(TINY, build_tokenizer(TINY), SMALL)
    assert make_policy().model.state_dict().keys() == stock.state_dict().keys()


@pytest.mark.parametrize("lora", [None, LoRA(4, 8)])
def test_a_policy_sees_what_the_stock_network_sees(
    make_policy: MakePolicy, examples: list[Example], tmp_path: Any, lora: LoRA | None
) -> None:
    policy = make_policy(lora=lora, min_pixels=784, max_pixels=448 * 448)
    prompts = []
    for number, size in enumerate([(112, 112), (300, 90), (30, 30), (448, 440)]):
        Image.open(examples[number].image).resize(size).save(tmp_path / f"{number}.png")
        prompts.append(policy.encoder(examples[number]._replace(image=str(tmp_path / f"{number}.png"))))
    stock = build_model(TINY, build_tokenizer(TINY), SMALL).eval()
    stock.load_state_dict(
        {name: weight for name, weight in policy.model.state_dict().items() if "visual" in name}, False
    )
    patches, grid = torch.cat([p.pixels for p in prompts]), torch.stack([p.grid for p in prompts])
    with torch.no_grad():
        expected = stock.model.get_image_features(patches, grid, return_dict=True).pooler_output
        found = policy.network.features(prompts)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.tokens, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_tower_that_is_trained_gets_a_gradient_everywhere(
    make_policy: MakePolicy, prompts: list[Prompt], checkpointing: bool
) -> None:
    policy = make_policy(train_vision=True, checkpointing=checkpointing).train()
    ids, mask = torch.randint(1, 500, (4, 3)), torch.ones(4, 3, dtype=torch.long)
    policy.logps(prompts, ids, mask)[0].sum().backward()
    tower = dict(policy.network.vision_tower.named_parameters())
    assert all(weight.grad is not None and weight.grad.any() for weight in tower.values())
    assert any("patch_embed" in name for name in tower)
