"""What a policy is built from: bases, adapters, 4-bit weights; and the sentences that refuse what does not fit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import bitsandbytes as bnb
import pytest
import torch
import torch.nn.functional as F
from conftest import SMALL, small_config
from torch import Tensor
from transformers import modeling_utils

from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.model.attention import TreeAttention
from fea.model.config import LoRA, PolicyConfig, VisionAttention
from fea.model.layout import lay_out
from fea.model.load import skeleton
from fea.model.policy import Policy
from fea.model.sampling import Generation, noise

MakePolicy = Callable[..., Policy]
LANGUAGE = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model, to be named as `policy.base`."""
    folder = tmp_path_factory.mktemp("base")
    Policy(small_config(tiny=replace(SMALL, spread=0.3)), {}).save(folder)
    return folder


def sampled(policy: Policy, prompts: list[Prompt]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and log-probabilities of two samples of each prompt."""
    chance = noise([prompt.example.id for prompt in prompts], 2, 6, 0, 0)
    return policy.eval().rollout(prompts, 2, Generation(6), chance)[:3]


def frozen(policy: Policy) -> dict[str, Tensor]:
    """Everything that training must not touch, 4-bit statistics included."""
    kept = {name: tensor.clone() for name, tensor in policy.state_dict().items() if "lora_" not in name}
    for name in kept:  # bitsandbytes itself rounds the biases of 4-bit layers to its compute type
        if name.endswith("base_layer.bias"):
            kept[name] = kept[name].bfloat16()
    # As bytes: 4-bit weights are stored as if they were bfloat16, where some patterns are NaN and equal nothing.
    return {name: tensor.flatten().view(torch.uint8) for name, tensor in kept.items()}


# --- bases ---


def test_a_saved_policy_comes_back_as_a_base(make_policy: MakePolicy, base: Path, prompts: list[Prompt]) -> None:
    saved, loaded = make_policy(tiny=replace(SMALL, spread=0.3)), make_policy(base=str(base))
    assert loaded.state_dict().keys() == saved.state_dict().keys()
    assert all(torch.equal(tensor, saved.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    assert loaded.network.ends == saved.network.ends
    example = prompts[0].example
    found, expected = loaded.encoder(example, True), saved.encoder(example, True)
    for part in ("ids", "positions", "grid", "target"):
        assert torch.equal(getattr(found, part), getattr(expected, part))
    # Where torchvision is installed it resizes and rounds in its own way, by at most one gray level.
    torch.testing.assert_close(found.pixels, expected.pixels, rtol=0, atol=0.016)
    for found, expected in zip(sampled(loaded, prompts), sampled(saved, prompts), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("named", ["tiny", "saved"])
@pytest.mark.parametrize("lora", [None, LoRA(4, 8)])
def test_a_new_policy_trains(base: Path, named: str, lora: LoRA | None) -> None:
    """Loaded models are in eval mode, in which checkpointing does nothing."""
    policy = Policy(small_config(base="tiny" if named == "tiny" else str(base), lora=lora, checkpointing=True), {})
    assert all(module.training for module in policy.modules())


def test_recomputing_activations_keeps_no_state_of_random_numbers(
    make_policy: MakePolicy, prompts: list[Prompt], recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which a GPU would be asked for twice a layer and pass."""
    policy = make_policy(checkpointing=True, lora=LoRA(4, 8)).train()
    assert not [warning for warning in recwarn if "checkpointing" in str(warning.message)]
    ids, mask, _ = sampled(policy, prompts)
    asked: list[int] = []
    monkeypatch.setattr(torch, "get_rng_state", lambda: asked.append(1))
    features, tree = policy.network.features(prompts), policy.train().config.layout
    asked.clear()
    layout = lay_out(tree, prompts, ids, mask, policy.network.image_token)
    hidden = policy.network.read(layout, features, TreeAttention(layout.tree, ids.device))
    hidden.sum().backward()
    assert not asked
    assert all(weight.grad is not None for weight in policy.trainable().values())


def test_both_towers_use_an_attention_that_understands_boolean_masks(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    assert "eager" not in get_args(VisionAttention)
    policy = Policy(small_config(base=str(base)), {})
    assert policy.model.config.text_config._attn_implementation == "fea_sdpa"  # ours, over the library's
    assert policy.model.config.vision_config._attn_implementation == "fea_windows"
    assert "fea_" not in (base / "config.json").read_text()  # a saved model needs nothing of ours
    assert config["model_type"] == "qwen2_5_vl"


@pytest.mark.parametrize("kept", ["chat_template.jinja", "chat_template.json", "tokenizer_config.json"])
def test_a_chat_template_is_found_wherever_a_release_of_transformers_has_put_it(
    make_policy: MakePolicy, base: Path, prompts: list[Prompt], tmp_path: Path, kept: str
) -> None:
    folder = shutil.copytree(base, tmp_path / "base")
    file = folder / "chat_template.jinja"
    template = file.read_text()
    if kept != file.name:
        file.unlink()
        told = json.loads((folder / kept).read_text()) if (folder / kept).exists() else {}
        (folder / kept).write_text(json.dumps(told | {"chat_template": template}))
    assert torch.equal(make_policy(base=str(folder)).encoder(prompts[0].example).ids, prompts[0].ids)


def test_pixels_are_bounded_for_a_saved_base_too(base: Path) -> None:
    policy = Policy(small_config(base=str(base), min_pixels=784, max_pixels=5000), {})
    assert dict(policy.network.image_processor.size) == {"shortest_edge": 784, "longest_edge": 5000}


def test_weights_to_start_from_replace_those_of_the_base(make_policy: MakePolicy) -> None:
    trained = make_policy(tiny=replace(SMALL, seed=5))
    start = {name: parameter.detach() for name, parameter in trained.trainable().items()}
    for lora in (None, LoRA(4, 8)):  # an adapter on top of a full first stage
        policy = Policy(small_config(lora=lora), start)
        own = {name.replace(".base_layer", ""): p for name, p in policy.named_parameters()}
        assert all(torch.equal(own[name], weight) for name, weight in start.items())


# --- what is trained ---


def test_without_an_adapter_the_language_model_is_trained(make_policy: MakePolicy) -> None:
    policy = make_policy()
    expected = {name for name, _ in policy.named_parameters() if ".visual." not in name}
    assert set(policy.trainable()) == expected
    assert set(make_policy(train_vision=True).trainable()) == {name for name, _ in policy.named_parameters()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_is_in_float32_on_the_language_model_alone(make_policy: MakePolicy, dtype: str) -> None:
    policy = make_policy(lora=LoRA(3, 6), dtype=dtype)
    assert {p.dtype for p in policy.trainable().values()} == {torch.float32}
    assert {p.dtype for p in policy.parameters() if not p.requires_grad} == {getattr(torch, dtype)}
    layers = SMALL.layers * len(LANGUAGE)
    assert len(policy.trainable()) == 2 * layers
    assert all(".language_model.layers." in name and "lora_" in name for name in policy.trainable())
    assert {name.split(".lora_")[0].split(".")[-1] for name in policy.trainable()} == LANGUAGE
    assert all(3 in parameter.shape for parameter in policy.trainable().values())
    assert not [module for module in policy.modules() if isinstance(module, torch.nn.Dropout) and module.p]


def test_a_fresh_adapter_changes_nothing_and_alpha_scales_it(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    plain = make_policy()
    ids, mask, _ = sampled(plain, prompts)
    adapted = make_policy(lora=LoRA(4, 8))
    assert torch.equal(adapted.logps(prompts, ids, mask)[0], plain.logps(prompts, ids, mask)[0])
    layer = adapted.network.language_model.layers[0].mlp.up_proj
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    x = torch.randn(2, SMALL.hidden)
    update = x @ layer.lora_A["default"].weight.T @ layer.lora_B["default"].weight.T * (8 / 4)
    torch.testing.assert_close(layer(x), layer.base_layer(x) + update, rtol=1e-5, atol=1e-5)


def test_targets_choose_other_layers(make_policy: MakePolicy) -> None:
    names = make_policy(lora=LoRA(2, 4, r".*language_model.*\.q_proj")).trainable()
    assert len(names) == 2 * SMALL.layers
    assert all(".q_proj." in name for name in names)


@pytest.mark.parametrize(
    ("targets", "named"),
    [
        (r".*visual.*\.qkv", "'model.visual.blocks.1.attn.qkv', which is in the vision tower"),
        (r".*\.(q_proj|up_proj)", "'model.visual.blocks.1.mlp.up_proj', which is in the vision tower"),
        (r"model\.visual\.merger\..*", "which is in the vision tower"),
        (r"model\.visual", "'model.visual', which is in the vision tower"),
        (r".*", "which is in the vision tower"),
        (r"lm_head|.*language_model.*\.q_proj", "'lm_head', which is in the output head"),
        (r".*language_model.*norm", "matches what cannot have an adapter"),
    ],
)
def test_an_adapter_that_could_not_learn_is_refused(make_policy: MakePolicy, targets: str, named: str) -> None:
    with pytest.raises(FEAError) as refused:
        make_policy(lora=LoRA(targets=targets))
    assert str(refused.value).startswith(f"policy.lora.targets: '{targets}' matches ")
    assert named in str(refused.value)


def test_a_plan_refuses_it_too() -> None:
    with pytest.raises(FEAError, match="which is in the vision tower"):
        skeleton(PolicyConfig(base="Qwen/Qwen2.5-VL-3B-Instruct", lora=LoRA(targets=r".*\.up_proj"), dtype="bfloat16"))


# --- 4 bits ---


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_on_4_bit_weights_learns_and_the_base_stays_as_it_is_to_the_bit(
    make_policy: MakePolicy, base: Path, prompts: list[Prompt], dtype: str, checkpointing: bool
) -> None:
    """A rollout first, then training: some CPUs repack 4-bit weights for inference and then give no gradient."""
    torch.manual_seed(0)
    policy = make_policy(base=str(base), four_bit=True, lora=LoRA(4, 8), dtype=dtype, checkpointing=checkpointing)
    before = frozen(policy)
    ids, mask, sampling_logps = sampled(policy, prompts)
    evaluated, _ = policy.logps(prompts, ids, mask)
    for name, parameter in policy.trainable().items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    optimizer = torch.optim.AdamW([*policy.trainable().values()], lr=0.01)
    logps, _ = policy.train().logps(prompts, ids, mask)
    logps.sum().backward()
    for name, parameter in policy.trainable().items():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    optimizer.step()
    sampled(policy, prompts)
    assert logps.isfinite().all()
    torch.testing.assert_close(sampling_logps, evaluated, rtol=0, atol=0.2)  # layers compute in bfloat16
    assert frozen(policy).keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in frozen(policy).items())


def test_4_bit_training_and_sampling_agree(make_policy: MakePolicy, base: Path, prompts: list[Prompt]) -> None:
    policy = make_policy(base=str(base), four_bit=True, lora=LoRA(4, 8))
    ids, mask, _ = sampled(policy, prompts)
    evaluated, _ = policy.eval().logps(prompts, ids, mask)
    trained, _ = policy.train().logps(prompts, ids, mask)
    assert torch.equal(evaluated, trained)


def test_4_bit_weights_are_nf4_twice_quantised_and_spare_the_vision_tower_and_the_head(
    make_policy: MakePolicy, base: Path
) -> None:
    policy = make_policy(base=str(base), four_bit=True, lora=LoRA(4, 8), dtype="bfloat16")
    packed = {name: module for name, module in policy.named_modules() if isinstance(module, bnb.nn.Linear4bit)}
    assert len(packed) == SMALL.layers * len(LANGUAGE)
    assert all(".language_model.layers." in name for name in packed)
    for module in packed.values():
        state = module.weight.quant_state
        assert (state.quant_type, state.nested) == ("nf4", True)
        assert module.weight.dtype == torch.bfloat16  # the storage that sharding needs
        assert module.compute_dtype == torch.bfloat16
        assert not module.support_avx512bf16_for_cpu
    # Nothing is blown up to float32 but the adapter.
    assert {p.dtype for p in policy.parameters() if not p.requires_grad} == {torch.bfloat16}


def test_4_bit_weights_are_near_the_base(make_policy: MakePolicy, base: Path) -> None:
    whole = make_policy(base=str(base)).network.language_model.layers[0].mlp.up_proj
    packed = make_policy(base=str(base), four_bit=True, lora=LoRA(4, 8)).network.language_model.layers[0].mlp.up_proj
    x = torch.randn(8, SMALL.hidden, generator=torch.Generator().manual_seed(0))
    expected = whole(x)
    assert ((packed(x) - expected).norm() / expected.norm()).item() == pytest.approx(0.1, abs=0.05)


# --- what is refused ---


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (lambda: PolicyConfig(base="b", four_bit=True), ["policy.four_bit", "policy.lora"]),
        (lambda: PolicyConfig(four_bit=True, lora=LoRA()), ["policy.four_bit", "policy.base"]),
        (lambda: PolicyConfig(lora=LoRA(), train_vision=True), ["policy.train_vision", "lora"]),
        (lambda: LoRA(rank=0), ["policy.lora.rank: 0"]),
        (lambda: PolicyConfig(dtype="bfloat16"), ["policy.dtype", "policy.lora"]),
        (lambda: PolicyConfig(min_pixels=100), ["policy.min_pixels: 100", "max_pixels", "784 pixels"]),
        (lambda: PolicyConfig(min_pixels=9000, max_pixels=8000), ["policy.min_pixels: 9000", "max_pixels 8000"]),
        (lambda: replace(SMALL, hidden=96), ["policy.tiny.hidden: 96", "heads 4"]),
        (lambda: replace(SMALL, heads=1), ["policy.tiny.hidden: 64", "heads 1"]),
        (lambda: replace(SMALL, hidden=0), ["policy.tiny.hidden: 0", "heads 4"]),
        (lambda: replace(SMALL, vision_hidden=60), ["policy.tiny.vision_hidden: 60"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused_by_name(made: Callable[[], Any], named: list[str]) -> None:
    with pytest.raises(FEAError) as refused:
        made()
    assert all(name in str(refused.value) for name in named)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("targets", ["no_such_layer", "("])
def test_targets_that_match_no_layer_are_refused(make_policy: MakePolicy, targets: str) -> None:
    with pytest.raises(FEAError, match=re.escape(f"policy.lora.targets: no layer matches '{targets}'")):
        make_policy(lora=LoRA(targets=targets))


def test_flash_attention_that_is_not_there_is_one_sentence(make_policy: MakePolicy) -> None:
    if torch.cuda.is_available():
        pytest.skip("it may be there")
    told = (
        "policy.vision_attention: flash_attention_2 needs a GPU and the package flash-attn (pip install 'fea[flash]'), and one "
        "of them is not there; sdpa works everywhere"
    )
    with pytest.raises(FEAError, match=f"^{re.escape(told)}$"):
        make_policy(vision_attention="flash_attention_2")


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A stand-in for the package and for its kernel; the longest sequence of each of its calls."""
    called: list[int] = []

    def packed(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, **options: Any
    ) -> tuple[Tensor, None]:
        called.append(options["max_length_q"])
        parts = (part.split(options["cu_seq_lens_q"].diff().tolist(), dim=2) for part in (query, key, value))
        read = [F.scaled_dot_product_attention(*of, scale=options["scaling"]) for of in zip(*parts, strict=True)]
        return torch.cat(read, dim=2).transpose(1, 2), None

    monkeypatch.setattr(modeling_utils, "lazy_import_flash_attention", lambda name: None)
    monkeypatch.setitem(modeling_utils.ALL_ATTENTION_FUNCTIONS._global_mapping, "flash_attention_2", packed)
    return called


def test_flash_attention_on_a_machine_without_a_gpu_is_one_sentence(
    make_policy: MakePolicy, flash: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("it is there")
    monkeypatch.setattr(modeling_utils.PreTrainedModel, "_flash_attn_import_error", lambda *_, **__: None)
    with pytest.raises(
        FEAError, match=r"^policy\.vision_attention: flash_attention_2 needs a GPU .*sdpa works everywhere$"
    ):
        make_policy(vision_attention="flash_attention_2")


@pytest.mark.parametrize("layout", ["tree", "group", "rows"])
def test_flash_attention_in_the_tower_changes_nothing(
    make_policy: MakePolicy,
    prompts: list[Prompt],
    flash: list[int],
    layout: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The language model has its own, in every layout."""
    monkeypatch.setattr(modeling_utils.PreTrainedModel, "_flash_attn_can_dispatch", lambda *_, **__: True)
    plain, policy = (make_policy(vision_attention=name, layout=layout) for name in get_args(VisionAttention))
    ids, mask, written = sampled(policy, prompts)
    assert set(flash) == {64}
    assert len(flash) == SMALL.vision_layers
    found, expected = policy.logps(prompts, ids, mask)[0], plain.logps(prompts, ids, mask)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(written, found, rtol=1e-4, atol=1e-5)
    assert len(flash) == 2 * SMALL.vision_layers


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def damaged_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"damaged")


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def damaged_template(folder: Path) -> None:
    no_template(folder)
    (folder / "chat_template.json").write_text("{}")


def no_end(folder: Path) -> None:
    for file in folder.glob("tokenizer*.json"):
        file.write_text(file.read_text().replace("<|im_end|>", "<|at_end|>"))


def no_image_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def another_family(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (no_config, "no config.json in it"),
        (no_weights, "model.safetensors"),
        (damaged_weights, "model.safetensors is damaged"),
        (no_tokenizer, "tokenizer"),
        (no_template, "chat template"),
        (damaged_template, "chat_template.json' holds no chat template"),
        (no_end, "lacks its own tokenizer"),
        (no_image_processor, "holds no image processor"),
        (
            another_family,
            "is a bert model, for which transformers has no processor of texts with images; name another model",
        ),
        (shutil.rmtree, "there is no folder"),
    ],
)
def test_a_base_that_is_none_is_one_sentence(
    make_policy: MakePolicy, base: Path, tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    folder = shutil.copytree(base, tmp_path / "base")
    harm(folder)
    with pytest.raises(FEAError, match=r"policy\.base") as refused:
        make_policy(base=str(folder))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("trained", "here", "said"),
    [
        ({}, {"tiny": replace(SMALL, layers=1)}, "has no such weight"),
        ({}, {"tiny": replace(SMALL, hidden=128)}, "has shape"),
        ({"lora": LoRA(4, 8)}, {"lora": LoRA(2, 4)}, "has shape"),
        ({"lora": LoRA(4, 8)}, {"lora": LoRA(4, 8, r".*language_model.*\.q_proj")}, "has no such weight"),
        ({"lora": LoRA(4, 8)}, {}, "it holds an adapter; give policy.lora"),
    ],
)
def test_weights_of_another_model_are_refused(
    make_policy: MakePolicy, trained: dict[str, Any], here: dict[str, Any], said: str
) -> None:
    start = {name: parameter.detach() for name, parameter in make_policy(**trained).trainable().items()}
    with pytest.raises(FEAError, match=said):
        Policy(small_config(**here), start)
