"""Adapters on what sees: where they lie, what they learn, and that nothing of what was seen outlives an update."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import SMALL, small_config
from PIL import Image
from score_offsets import stir_adapter, trained_less_sampled
from torch import Tensor, nn

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.memory.dry_run import TensorBytes
from fea.model import checkpoints
from fea.model.attention import TreeAttention
from fea.model.checkpoints import Stored
from fea.model.config import LayoutName, LoRA, PolicyConfig, VisionLoRA
from fea.model.families.known import TINY
from fea.model.layout import lay_out
from fea.model.lora import vision_layers
from fea.model.policy import Policy
from fea.model.sampling import Generation, noise
from fea.model.tiny import build_model, build_tokenizer

MakePolicy = Callable[..., Policy]
BOTH = LoRA(4, 8, vision=VisionLoRA(3))
LAYERS = {"qkv", "proj", "gate_proj", "up_proj", "down_proj"}  # of a block of the tower
# Two completions of each of two prompts.
MASK = (torch.arange(7) < torch.tensor([4, 1, 7, 2])[:, None]).long()
IDS = torch.randint(1, 580, (4, 7), generator=torch.Generator().manual_seed(3)) * MASK


@pytest.fixture
def uneven(make_policy: MakePolicy, examples: list[Example], tmp_path: Path) -> list[Prompt]:
    """Two prompts, with images of one and of several windows."""
    encoder = make_policy(min_pixels=784, max_pixels=224 * 224).encoder
    Image.open(examples[1].image).resize((140, 196)).save(tmp_path / "tall.png")
    return [encoder(examples[0]), encoder(examples[1]._replace(image=str(tmp_path / "tall.png")))]


def stirred(policy: Policy) -> Policy:
    """Adapters start as a zero update; away from it both halves get a gradient."""
    torch.manual_seed(1)
    for name, parameter in policy.trainable().items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return policy


def seeing(policy: Policy) -> dict[str, nn.Parameter]:
    """What is trained of the tower and the merger, by name."""
    return {name: weight for name, weight in policy.trainable().items() if ".visual." in name}


# --- where they lie ---


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_linear_layer_of_tower_and_merger_has_one_of_its_own_rank_in_fp32(
    make_policy: MakePolicy, dtype: str
) -> None:
    policy, plain = make_policy(lora=BOTH, dtype=dtype), make_policy(lora=LoRA(4, 8))
    own = seeing(policy)
    layers = {name.partition(".lora_")[0].removeprefix("model.model.visual.") for name in own}
    blocks = {f"blocks.{n}.{part}.{name}" for n in range(SMALL.vision_layers) for part, name in _parts()}
    assert layers == {*blocks, "merger.mlp.0", "merger.mlp.2"}
    assert {weight.dtype for weight in own.values()} == {torch.float32}
    assert {min(weight.shape) for weight in own.values()} == {3}
    assert policy.trainable().keys() - own.keys() == plain.trainable().keys()
    assert [id(weight) for weight in policy.vision_adapter()] == [id(weight) for weight in own.values()]
    assert plain.vision_adapter() == []
    assert make_policy(train_vision=True).vision_adapter() == []


def _parts() -> Iterator[tuple[str, str]]:
    yield from (("attn" if name in ("qkv", "proj") else "mlp", name) for name in LAYERS)


def test_it_holds_for_towers_with_other_layers_and_several_mergers() -> None:
    wide = {"depth": 2, "hidden_size": 64, "num_heads": 4, "intermediate_size": 96, "out_hidden_size": 64}
    text = {
        "vocab_size": 8,
        "hidden_size": 64,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    vision = {**wide, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    config = transformers.Qwen3VLConfig(vision_config=vision, text_config=text)
    with torch.device("meta"):
        model = transformers.Qwen3VLForConditionalGeneration(config)
    found = {name.removeprefix("model.visual.") for name in vision_layers(model, TINY)}
    blocks = {
        f"blocks.{n}.{name}" for n in (0, 1) for name in ("attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2")
    }
    mergers = ("merger", "deepstack_merger_list.0", "deepstack_merger_list.1")
    assert found == blocks | {f"{merger}.{name}" for merger in mergers for name in ("linear_fc1", "linear_fc2")}


@pytest.mark.parametrize("rs", [False, True])
def test_alpha_is_divided_by_each_ones_own_rank_or_by_its_root(make_policy: MakePolicy, rs: bool) -> None:
    policy = make_policy(lora=LoRA(4, 8, vision=VisionLoRA(16), rs=rs))
    tower, language = (
        policy.network.vision_tower.blocks[0].attn.qkv,
        policy.network.language_model.layers[0].mlp.up_proj,
    )
    assert (tower.scale, language.scale) == ((2.0, 4.0) if rs else (0.5, 2.0))


def test_a_fresh_one_changes_no_bit(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    found, expected = (make_policy(lora=lora).logps(prompts[:2], IDS, MASK)[0] for lora in (BOTH, LoRA(4, 8)))
    assert torch.equal(found, expected)


# --- what they learn ---


@pytest.mark.parametrize("layout", ["tree", "group", "rows"])
def test_prompts_that_were_placed_for_a_rollout_give_the_tower_a_gradient(
    make_policy: MakePolicy, prompts: list[Prompt], layout: LayoutName
) -> None:
    policy = stirred(make_policy(lora=BOTH, layout=layout)).train()
    policy.logps(policy.look(prompts), *_some(8))[0].sum().backward()
    for name, weight in policy.trainable().items():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


def _seen(policy: Policy, prompts: list[Prompt]) -> Tensor:
    """All tokens of their images, (n, width)."""
    return torch.cat([seen.tokens for seen in policy.network.features(prompts)])


def _some(rows: int) -> tuple[Tensor, Tensor]:
    ids = torch.arange(rows * 3).view(rows, 3) * 7 % 300
    return ids, torch.ones_like(ids)


@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_gradients_follow_from_those_of_all_weights_of_the_stock_network(
    make_policy: MakePolicy, uneven: list[Prompt], layout: LayoutName
) -> None:
    """With W' = W + s B A the chain rule gives dB = s dW' A^T and dA = s B^T dW'. In fp64, but for what norms round to fp32."""
    torch.set_default_dtype(torch.float64)
    try:
        policy = stirred(make_policy(tiny=replace(SMALL, spread=0.3), lora=BOTH, layout=layout)).double().train()
        weights = torch.randn(IDS.shape, generator=torch.Generator().manual_seed(4))
        (_own_logps(policy, uneven) * weights).sum().backward()
        stock = _merged(policy)
        (_stock_logps(stock, uneven) * weights).sum().backward()
    finally:
        torch.set_default_dtype(torch.float32)
    whole = dict(stock.named_parameters())
    layers = [name.partition(".lora_A")[0] for name in policy.trainable() if "lora_A" in name]
    assert sum(".visual." in name for name in layers) == 5 * SMALL.vision_layers + 2
    for name in layers:
        layer, gradient = policy.get_submodule(name), whole[f"{name.removeprefix('model.')}.weight"].grad
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        for found, expected in ((up.grad, gradient @ down.T), (down.grad, up.T @ gradient)):
            assert found is not None, name
            assert expected.norm() > 0, name
            assert (found - layer.scale * expected).norm() < 1e-5 * (layer.scale * expected).norm(), name


def _own_logps(policy: Policy, prompts: list[Prompt]) -> Tensor:
    """As `Policy.logps`, which would round them to fp32."""
    network = policy.network
    layout = lay_out(policy.config.layout, prompts, IDS, MASK, network.image_token)
    tree = None if layout.tree is None else TreeAttention(layout.tree, network.device)
    hidden = network.read(layout, network.features(prompts), tree)[layout.scored]
    logps = network.head(hidden).log_softmax(-1)[range(len(layout.targets)), layout.targets]
    return torch.zeros(IDS.shape).masked_scatter(MASK.bool(), logps)


def _stock_logps(stock: Any, prompts: list[Prompt]) -> Tensor:
    """By the whole network of transformers, one row at a time."""
    logps = torch.zeros(IDS.shape)
    for row, length in enumerate(MASK.sum(dim=1).tolist()):
        prompt = prompts[row // 2]
        ids = torch.cat([prompt.ids, IDS[row, :length]])[None]
        logits = stock(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == stock.config.image_token_id).int(),
            pixel_values=prompt.pixels.double(),
            image_grid_thw=prompt.grid[None],
            use_cache=False,
        ).logits[0, len(prompt.ids) - 1 : -1]
        logps[row, :length] = logits.log_softmax(-1)[range(length), IDS[row, :length]]
    return logps


def _merged(policy: Policy) -> Any:
    """The stock network, all of whose weights are trained, with the adapters added to its own."""
    stock = build_model(TINY, build_tokenizer(TINY), replace(SMALL, spread=0.3)).double().train()
    held = policy.model.state_dict()
    merged = {name.replace(".base_layer", ""): weight.clone() for name, weight in held.items() if "lora_" not in name}
    for name, layer in policy.model.named_modules():
        if f"{name}.lora_A.default.weight" in held:
            update = layer.lora_B["default"].weight @ layer.lora_A["default"].weight  # type: ignore[operator, index, union-attr]
            merged[f"{name}.weight"] += layer.scale * update.detach()  # type: ignore[operator]
    stock.load_state_dict(merged)
    return stock


# --- what is seen when ---


@contextmanager
def counted(module: nn.Module) -> Iterator[list[int]]:
    """Rows of the first input of each call of a module."""
    rows: list[int] = []
    hook = module.register_forward_pre_hook(
        lambda module, inputs, named: rows.append(len(next(iter([*inputs, *named.values()])))), with_kwargs=True
    )
    yield rows
    hook.remove()


def test_every_image_of_a_pack_goes_through_the_tower_once(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    """Whatever the number of completions, and of prompts that show it; what they share adds up in its gradient."""
    policy = stirred(make_policy(lora=BOTH)).train()
    again = policy.encoder.ask(prompts[0], "And again?")
    drawn = [prompts[0], prompts[1], again]
    ids, mask = _some(9)
    with counted(policy.network.vision_tower) as rows:
        logps = policy.logps(policy.look(drawn), ids, mask)[0]
    assert rows == [2 * len(prompts[0].pixels)]
    mirrored = prompts[0].example._replace(flipped=True)
    with counted(policy.network.vision_tower) as rows:
        policy.network.features([prompts[0], policy.encoder(mirrored)])
    assert rows == [2 * len(prompts[0].pixels)]
    shared = torch.autograd.grad(logps.sum(), [*seeing(policy).values()])
    other = policy.encoder(prompts[0].example)._replace(ids=again.ids, positions=again.positions)
    other = other._replace(example=other.example._replace(image=f"./{other.example.image}"))  # taken for another one
    apart = policy.logps([*drawn[:2], other], ids, mask)[0]
    torch.testing.assert_close(logps, apart, rtol=0, atol=1e-5)
    for found, expected in zip(shared, torch.autograd.grad(apart.sum(), [*seeing(policy).values()]), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_blocks_of_the_tower_compute_is_recomputed_in_the_backward_pass(
    make_policy: MakePolicy, prompts: list[Prompt], checkpointing: bool
) -> None:
    policy = stirred(make_policy(lora=BOTH, checkpointing=checkpointing)).train()
    with counted(policy.network.vision_tower.blocks[0].mlp) as tower, counted(_up(policy)) as language:
        policy.logps(prompts, *_some(8))[0].sum().backward()
        with torch.no_grad():
            policy.logps(prompts, *_some(8))
    assert (len(tower), len(language)) == (3, 2 + checkpointing)


def _up(policy: Policy) -> nn.Module:
    up: nn.Module = policy.network.language_model.layers[0].mlp.up_proj
    return up


def test_so_a_deep_tower_keeps_little_more_than_the_inputs_of_its_blocks(
    make_policy: MakePolicy, prompts: list[Prompt]
) -> None:
    kept = []
    for depth in (2, 6):
        policy = make_policy(tiny=replace(SMALL, vision_layers=depth), lora=BOTH).train()
        with TensorBytes(policy.parameters()) as bytes_made:
            features = policy.network.features(prompts)
            kept.append(bytes_made.now)
        assert features[0].tokens.requires_grad
    patches = sum(len(prompt.pixels) for prompt in prompts)
    assert (kept[1] - kept[0]) / 4 == pytest.approx(patches * SMALL.vision_hidden * 4, rel=0.05)


def test_features_are_kept_for_a_tower_that_stays_as_it_is_and_for_no_other(
    make_policy: MakePolicy, prompts: list[Prompt]
) -> None:
    for settings, kept in (({"lora": LoRA(4, 8)}, True), ({"lora": BOTH}, False), ({"train_vision": True}, False)):
        policy = make_policy(**settings)
        assert policy.config.trains_tower is not kept
        assert all((prompt.features is not None) is kept for prompt in policy.look(prompts))


# --- sampling, reference ---


@pytest.mark.parametrize("four_bit", [False, True], ids=["bf16", "4 bits"])
def test_samples_come_from_the_policy_that_is_trained(
    make_policy: MakePolicy, examples: list[Example], tmp_path: Path, four_bit: bool
) -> None:
    size = replace(SMALL, hidden=256, layers=3, spread=0.03)
    make_policy(tiny=size).save(tmp_path / "base")
    policy = make_policy(base=str(tmp_path / "base"), lora=BOTH, dtype="bfloat16", four_bit=four_bit)
    stir_adapter(policy)
    kinds = {type(module).__name__ for module in policy.network.vision_tower.modules() if isinstance(module, nn.Linear)}
    assert kinds == {"Linear"}  # the base of what sees is whole
    with torch.no_grad():
        prompts = [policy.encoder(example) for example in examples[:3]]
        adapted = _seen(policy, prompts)
        for weight in policy.vision_adapter():
            weight.mul_(1.5)
        assert (_seen(policy, prompts) - adapted).norm() > 0.01 * adapted.norm()  # it has its say
    apart = trained_less_sampled(policy, prompts, 4, 32)
    assert apart.abs().mean() < 0.01
    assert 0.9 < float(apart.exp().min()) <= float(apart.exp().max()) < 1.1


def test_in_fp32_they_agree_to_rounding(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    policy = stirred(make_policy(lora=BOTH))
    chance = noise([prompt.example.id for prompt in prompts], 2, 6, 0, 0)
    found = policy.rollout(policy.look(prompts), 2, Generation(6), chance)
    trained = policy.train().logps(prompts, found.ids, found.mask)[0]
    torch.testing.assert_close(found.logps, trained, rtol=0, atol=2e-5)


def test_the_reference_of_a_fresh_adapter_sees_what_the_base_sees(
    make_policy: MakePolicy, prompts: list[Prompt]
) -> None:
    policy, base = make_policy(lora=BOTH), make_policy()
    policy.keep_reference()
    placed, asked = policy.look(prompts[:2]), (IDS, MASK)
    optimizer = torch.optim.AdamW([*policy.trainable().values()], lr=0.05)
    for _ in range(2):
        policy.train().logps(placed, *asked)[0].sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    policy.eval()
    with torch.no_grad():
        moved, first = policy.logps(placed, *asked)[0], _seen(policy, placed)
        with policy.reference():
            assert torch.equal(policy.logps(placed, *asked)[0], base.logps(prompts[:2], *asked)[0])
            plain = _seen(policy, placed)
        assert torch.equal(plain, _seen(base, prompts[:2]))
        assert (first - plain).norm() > 0.01 * plain.norm()
        assert torch.equal(policy.logps(placed, *asked)[0], moved)


def test_the_reference_after_a_first_stage_sees_what_that_stage_saw(
    make_policy: MakePolicy, prompts: list[Prompt]
) -> None:
    first = stirred(make_policy(lora=BOTH))
    policy = Policy(first.config, {name: weight.detach() for name, weight in first.trainable().items()}).eval()
    policy.keep_reference()
    with torch.no_grad():
        for weight in policy.vision_adapter():
            weight.mul_(0.5)
        moved = _seen(policy, prompts)
        with policy.reference():
            found = _seen(policy, prompts)
        expected = _seen(first, prompts)
    assert torch.equal(found, expected)
    assert not torch.allclose(moved, expected)


# --- settings and checkpoints ---


@pytest.mark.parametrize("targets", [r".*visual.*\.qkv", r".*"])
def test_targets_in_the_tower_are_refused_with_the_setting_to_use(make_policy: MakePolicy, targets: str) -> None:
    with pytest.raises(FEAError, match=r"which is in the vision tower; .* set policy\.lora\.vision for an adapter on"):
        make_policy(lora=LoRA(4, 8, targets, VisionLoRA(2)))


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: VisionLoRA(0), "policy.lora.vision.rank: 0; the rank of an adapter is at least 1"),
        (lambda: VisionLoRA(2, -1e-5), "policy.lora.vision.lr: -1e-05; give a number that is not negative, or null"),
        (lambda: PolicyConfig(lora=BOTH, train_vision=True), "policy.lora.vision"),
    ],
)
def test_settings_that_make_no_sense_are_one_sentence(made: Callable[[], Any], told: str) -> None:
    with pytest.raises(FEAError, match=re.escape(told)):
        made()


def checkpoint_of(policy: Policy, file: Path) -> str:
    told = Stored(policy.config, ("fear",), frozenset(), "SFTModule")
    weights = {f"policy.{name}": weight.detach() for name, weight in policy.trainable().items()}
    torch.save({"state_dict": weights, "fea": told.plain()}, file)
    return str(file)


def test_a_checkpoint_tells_it_and_an_earlier_one_that_does_not_is_read(
    make_policy: MakePolicy, prompts: list[Prompt], tmp_path: Path
) -> None:
    policy = stirred(make_policy(lora=LoRA(4, 8, vision=VisionLoRA(3, 1e-4), rs=True)))
    again, told = checkpoints.load_policy(checkpoint_of(policy, tmp_path / "x.ckpt"), "cpu")
    assert told.policy == policy.config
    assert torch.equal(again.logps(prompts[:2], IDS, MASK)[0], policy.logps(prompts[:2], IDS, MASK)[0])
    plain = checkpoint_of(make_policy(lora=LoRA(4, 8)), tmp_path / "plain.ckpt")
    earlier = torch.load(plain, weights_only=True)
    for name in ("vision", "rs"):
        del earlier["fea"]["policy"]["lora"][name]
    torch.save(earlier, plain)
    assert checkpoints.stored(plain).policy == small_config(lora=LoRA(4, 8))


CONTINUED: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {"vision": VisionLoRA(3)}, True),  # the tower learns from the second stage on
    ({"vision": VisionLoRA(3, 1e-4)}, {"vision": VisionLoRA(3, 1e-5)}, True),
    ({"vision": VisionLoRA(3)}, {"vision": VisionLoRA(4)}, False),
    ({"vision": VisionLoRA(3)}, {}, False),
    ({}, {"rs": True}, False),
]


@pytest.mark.parametrize(("then", "now", "fits"), CONTINUED)
def test_a_later_stage_may_add_the_tower_and_not_change_what_weights_mean(
    make_policy: MakePolicy,
    prompts: list[Prompt],
    tmp_path: Path,
    then: dict[str, Any],
    now: dict[str, Any],
    fits: bool,
) -> None:
    first, config = stirred(make_policy(lora=LoRA(4, 8, **then))), small_config(lora=LoRA(4, 8, **now))
    file = checkpoint_of(first, tmp_path / "x.ckpt")
    if not fits:
        with pytest.raises(FEAError, match=r"policy\.lora: .* use the same rank, alpha, targets, rs and vision\.rank"):
            checkpoints.check_adapter(file, config)
        return
    checkpoints.check_adapter(file, config)
    second = Policy(config, checkpoints.weights(file)).eval()
    assert torch.equal(second.logps(prompts[:2], IDS, MASK)[0], first.logps(prompts[:2], IDS, MASK)[0])
