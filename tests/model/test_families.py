"""What every family has to show: the numbers and the words of its stock network, and a record that is true of it."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SAVE_EACH_STEP, SMALL, fit, small_config
from PIL import Image
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.images.opening import LONGEST_SIDE
from fea.logprobs import logits
from fea.model import decoding
from fea.model.attention import TreeAttention
from fea.model.config import LayoutName, LoRA, PolicyConfig
from fea.model.families.family import Family
from fea.model.families.known import FAMILIES, publisher
from fea.model.layout import lay_out
from fea.model.load import skeleton
from fea.model.policy import Policy
from fea.model.sampling import Generation, noise
from fea.model.tiny import build_image_processor, build_model, build_tokenizer
from fea.prompts.prompt import system_prompt, user_prompt

# Parameters in all, the tower included.
PARAMETERS = {
    "Qwen/Qwen2-VL-2B-Instruct": 2_208_985_600,
    "Qwen/Qwen2-VL-7B-Instruct": 8_291_375_616,
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
    "Qwen/Qwen3-VL-2B-Instruct": 2_127_532_032,
    "Qwen/Qwen3-VL-4B-Instruct": 4_437_815_808,
    "Qwen/Qwen3-VL-8B-Instruct": 8_767_123_696,
}
# Far from the uniform distribution, so that a wrong position or mask shows; with two layers of DeepStack, where there are any.
ROUGH = replace(SMALL, spread=0.15, layers=3, vision_layers=3)
IDS = torch.randint(1, 580, (4, 6), generator=torch.Generator().manual_seed(3))
MASK = (torch.arange(6) < torch.tensor([6, 2, 1, 5])[:, None]).long()

MakePolicy = Callable[..., Policy]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.model_type)
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@pytest.fixture(scope="module")
def base(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the family, saved."""
    folder, tokenizer = tmp_path_factory.mktemp(family.model_type), build_tokenizer(family)
    for part in (build_model(family, tokenizer, ROUGH), tokenizer, build_image_processor(family)):
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def make(base: Path) -> MakePolicy:
    """Builds a policy on that model; keyword arguments change its `PolicyConfig`."""
    sizes = {
        "min_pixels": 32 * 32,
        "max_pixels": 224 * 224,
    }  # a visual token of any family, and images of several windows
    return lambda **changes: Policy(small_config(**{"base": str(base), **sizes, **changes}), {}).eval()


def shown(policy: Policy, example: Example, folder: Path, width: int, height: int) -> Prompt:
    """The prompt of an example with its image at another size."""
    path = folder / f"{width}x{height}.png"
    Image.open(example.image).resize((width, height)).save(path)
    return policy.encoder(example._replace(image=str(path), question="Why? " * (width % 3)))


@pytest.fixture
def uneven(make: MakePolicy, examples: list[Example], tmp_path: Path) -> list[Prompt]:
    """Two prompts of different lengths, with images of different sizes."""
    policy, sizes = make(), [(140, 196), (112, 84)]
    return [shown(policy, example, tmp_path, *size) for example, size in zip(examples, sizes, strict=False)]


def stock(base: Path) -> Any:
    """The network as transformers itself loads it."""
    return AutoModelForImageTextToText.from_pretrained(base, attn_implementation="sdpa", dtype=torch.float32).eval()


def told(network: Any, prompt: Prompt, ids: Tensor) -> dict[str, Any]:
    """What the whole network is given to read a row of one prompt and what follows it."""
    row = torch.cat([prompt.ids, ids])[None]
    images = (row == network.config.image_token_id).int()
    return {
        "input_ids": row, "attention_mask": torch.ones_like(row), "mm_token_type_ids": images,
        "pixel_values": prompt.pixels, "image_grid_thw": prompt.grid[None],
    }  # fmt: skip


# --- layouts and positions ---


@pytest.mark.parametrize("size", [(112, 112), (140, 196), (40, 40), (640, 480)])
def test_positions_are_those_of_the_familys_own_network(
    make: MakePolicy, examples: list[Example], tmp_path: Path, size: tuple[int, int]
) -> None:
    policy = make()
    prompt = shown(policy, examples[0], tmp_path, *size)
    images = prompt.ids == policy.network.image_token
    expected, _ = policy.model.model.get_rope_index(
        prompt.ids[None], images.int()[None], image_grid_thw=prompt.grid[None]
    )
    assert torch.equal(prompt.positions, expected[:, 0])
    assert int(images.sum()) == len(policy.network.features([prompt])[0].tokens)


Numbers = tuple[
    Tensor, dict[str, Tensor]
]  # log-probabilities of all completion tokens, and gradients by name of a weight


def numbers(network: Any, logps: Tensor) -> Numbers:
    """Log-probabilities, and the gradients of a random combination of them."""
    network.zero_grad()
    (logps * torch.randn(len(logps), generator=torch.Generator().manual_seed(4)).to(logps)).sum().backward()
    weights = network.named_parameters()
    return logps.detach(), {name: weight.grad.clone() for name, weight in weights if weight.grad is not None}


def of_stock(network: Any, prompts: list[Prompt]) -> Numbers:
    """By the whole network, each row alone."""
    found = []
    for row, mask in enumerate(MASK):
        prompt, ids = prompts[row // 2], IDS[row, mask.bool()]
        words = network(**told(network, prompt, ids), use_cache=False).logits[0, len(prompt.ids) - 1 : -1]
        found.append(words.log_softmax(dim=-1).gather(-1, ids[:, None])[:, 0])
    return numbers(network, torch.cat(found))


def of_layout(policy: Policy, prompts: list[Prompt], name: LayoutName) -> Numbers:
    network = policy.network
    layout = lay_out(name, prompts, IDS, MASK, network.image_token)
    tree = None if layout.tree is None else TreeAttention(layout.tree, network.device)
    hidden = network.read(layout, network.features(prompts), tree)[layout.scored]
    log_p = network.head(hidden).log_softmax(dim=-1)
    return numbers(policy.model, log_p.gather(-1, layout.targets[:, None])[:, 0])


def exact_norms(network: nn.Module) -> None:
    """The stock norms compute in 32 bits whatever they are given; from now on in its own type."""

    def norm(module: Any, x: Tensor) -> Tensor:
        scaled: Tensor = module.weight * x * (x.square().mean(-1, keepdim=True) + module.variance_epsilon).rsqrt()
        return scaled

    for module in network.modules():
        if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
            module.forward = norm.__get__(module)  # type: ignore[assignment]


def worst(gradients: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """Largest error of a gradient, of those that are known exactly, by its own size."""
    errors = [(gradients[name].double() - gradient).norm() / gradient.norm() for name, gradient in exact.items()]
    return float(max(errors))


def of_exact_stock(base: Path, prompts: list[Prompt]) -> Numbers:
    """In 64 bits, without the tower's gradients, which it rounds to 32: of each row here, of their sum in a layout."""
    whole = stock(base).double()
    exact_norms(whole)
    whole.model.visual.requires_grad_(False)
    return of_stock(whole, prompts)


LAYOUTS: tuple[LayoutName, ...] = ("tree", "group", "rows")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_the_values_and_gradients_of_the_stock_network_on_each_row_alone(
    make: MakePolicy, base: Path, uneven: list[Prompt], layout: LayoutName
) -> None:
    policy = make().train()
    policy.model.double()
    exact_norms(policy.model)
    (expected, wanted), (found, gradients) = of_exact_stock(base, uneven), of_layout(policy, uneven, layout)
    assert expected.abs().max() > 4
    assert (found - expected).abs().max() < 1e-10 * expected.abs().max()
    assert gradients.keys() == wanted.keys()
    assert min(gradient.norm() for gradient in wanted.values()) > 0
    assert worst(gradients, wanted) < 1e-10


def test_in_32_bits_no_layout_is_further_off_than_rounding_takes_the_stock_network(
    make: MakePolicy, base: Path, uneven: list[Prompt]
) -> None:
    """Values are equal to 1e-6. Rounding takes gradients of the stock network itself by 2e-6 to 4e-6 of their size."""
    exact, (expected, wanted) = of_exact_stock(base, uneven)[1], of_stock(stock(base), uneven)
    found = {layout: of_layout(make(train_vision=True).train(), uneven, layout) for layout in LAYOUTS}
    whole = torch.cat([gradient.flatten() for gradient in found["rows"][1].values()])
    for layout, (values, gradients) in found.items():
        assert (values - expected).abs().max() < 1e-6 * expected.abs().max(), layout
        assert gradients.keys() == wanted.keys()
        assert worst(gradients, exact) < 1.5 * worst(wanted, exact), layout
        seeing = {name: gradient.double() for name, gradient in wanted.items() if name not in exact}
        assert worst(gradients, seeing) < 1e-5, layout  # of the tower no more is known
        together = torch.cat([gradient.flatten() for gradient in gradients.values()])
        assert (together - whole).norm() < 1e-6 * whole.norm(), layout  # layouts among each other


def test_checkpointing_changes_no_gradient(make: MakePolicy, uneven: list[Prompt]) -> None:
    plain, again = (of_layout(make(checkpointing=on).train(), uneven, "tree") for on in (False, True))
    assert torch.equal(plain[0], again[0])
    assert all(torch.equal(gradient, again[1][name]) for name, gradient in plain[1].items())


# --- text ---


def test_a_prompt_is_the_text_of_the_familys_template(make: MakePolicy, family: Family, uneven: list[Prompt]) -> None:
    policy = make()
    for prompt in uneven:
        example = prompt.example
        image = family.image_token * len(policy.network.features([prompt])[0].tokens)
        asked = user_prompt(example.question, example.emotions)
        assert policy.network.tokenizer.decode(prompt.ids, clean_up_tokenization_spaces=False) == (
            f"<|im_start|>system\n{system_prompt('brief')}<|im_end|>\n"
            f"<|im_start|>user\n<|vision_start|>{image}<|vision_end|>{asked}<|im_end|>\n<|im_start|>assistant\n"
        )


def test_a_template_in_the_folder_of_a_base_is_the_one_that_counts(
    make: MakePolicy, base: Path, examples: list[Example], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    file = folder / "chat_template.jinja"
    file.write_text(f"Before all.\n{file.read_text()}")
    found, own = (policy.encoder(examples[0]).ids for policy in (make(base=str(folder)), make()))
    tokenizer = make().network.tokenizer
    assert tokenizer.decode(found) == f"Before all.\n{tokenizer.decode(own)}"


# --- what is written ---


def test_greedy_answers_are_those_of_the_stock_generate(
    make: MakePolicy, base: Path, examples: list[Example], tmp_path: Path
) -> None:
    """Of 50 prompts with images of different sizes; many tokens end an answer, so that their lengths differ."""
    policy, whole, draw = make(), stock(base), random.Random(0)
    network = policy.network
    network.ends = [*network.ends, *range(0, 500, 15)]
    sizes = [(draw.randrange(30, 260), draw.randrange(30, 260)) for _ in range(50)]
    prompts = [shown(policy, examples[n % len(examples)], tmp_path, *size) for n, size in enumerate(sizes)]
    assert len({tuple(prompt.grid.tolist()) for prompt in prompts}) > 20
    options = {"do_sample": False, "max_new_tokens": 6, "eos_token_id": network.ends, "pad_token_id": 0}
    none = torch.empty(0, dtype=torch.long)
    expected = []
    for prompt in prompts:
        ids = whole.generate(**told(whole, prompt, none), **options, suppress_tokens=network.forbidden.tolist())
        expected.append(ids[0, len(prompt.ids) :].tolist())
    answers = policy.rollout(prompts, 1, Generation(6), None)
    assert [row[kept.bool()].tolist() for row, kept in zip(answers.ids, answers.mask, strict=True)] == expected
    assert len({tuple(row) for row in expected}) > 10
    assert len(set(map(len, expected))) > 2


@pytest.mark.parametrize("lora", [None, LoRA(4, 8)], ids=["all weights", "adapter"])
def test_what_is_sampled_is_as_probable_as_training_says(
    make: MakePolicy, uneven: list[Prompt], lora: LoRA | None
) -> None:
    policy = make(lora=lora)
    torch.manual_seed(0)
    for name, weight in policy.trainable().items():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.3)
    chance = noise([prompt.example.id for prompt in uneven], 4, 12, 0, 0)
    written = policy.rollout(policy.look(uneven), 4, Generation(12), chance)
    assert len({tuple(row) for row in written.ids.tolist()}) == 8
    for layout in ("tree", "rows"):
        policy.config = replace(policy.config, layout=layout)
        logps, _ = policy.logps(uneven, written.ids, written.mask)
        assert logps.min() < -4
        torch.testing.assert_close(written.logps, logps, rtol=1e-5, atol=1e-5)


def test_on_4_bits_an_adapter_trains_and_a_resumed_run_is_one_that_never_stopped(base: Path, tmp_path: Path) -> None:
    """From inside a rollout: four packs of it make two optimizer steps."""
    settings = {
        "model__policy__base": base, "model__policy__four_bit": "true", "model__policy__dtype": "bfloat16",
        "model__policy__lora": '{"rank": 4, "alpha": 8}', "model__policy__max_pixels": 128 * 128,
        "model__policy__checkpointing": "true", "model__minibatches": 2, "trainer__accumulate_grad_batches": 2,
        "trainer__max_steps": 4, "model__optimization__lr": 5e-3, "data__train_faces": 12,
        "trainer__callbacks": f'[{SAVE_EACH_STEP}, {{"class_path": "test_grpo.Vowels"}}]',
    }  # fmt: skip
    fit("grpo", tmp_path / "whole", **settings)
    saved = tmp_path / "whole" / "checkpoints"
    fit("grpo", tmp_path / "resumed", **settings, ckpt_path=saved / "step1.ckpt")
    first, whole, resumed = (
        torch.load(file, weights_only=True)["state_dict"]
        for file in (saved / "step1.ckpt", saved / "step4.ckpt", tmp_path / "resumed" / "checkpoints" / "step4.ckpt")
    )
    assert whole.keys() == resumed.keys()
    assert all("lora_" in name and not torch.equal(first[name], weight) for name, weight in whole.items())
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())


# --- tokens ---


def test_tokens_that_would_break_the_next_pass_are_never_sampled(
    make: MakePolicy, family: Family, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are made the most probable ones: without the ban nothing else would be written."""
    policy = make()
    prompts = [policy.encoder(example) for example in examples[:4]]
    network, names = policy.network, family.never_sampled.values()
    assert family.image_token in names
    named = {name for name in vars(network.model.config) if re.fullmatch(r"(image|video|vision)\w*_token_id", name)}
    assert named == family.never_sampled.keys()
    assert {network.tokenizer.convert_tokens_to_ids(name) for name in names} <= set(network.forbidden.tolist())
    monkeypatch.setattr(
        decoding, "logits", lambda hidden, head: logits(hidden, head).index_fill(-1, network.forbidden, 1e4)
    )
    chance = noise([prompt.example.id for prompt in prompts], 2, 6, 0, 0)
    for drawn in (chance, None):
        completions = policy.rollout(prompts, 2 if drawn is not None else 1, Generation(6), drawn)
        assert completions.mask.any()
        assert not torch.isin(completions.ids[completions.mask.bool()], network.forbidden).any()


def test_a_turn_ends_with_the_token_that_its_template_writes(make: MakePolicy, family: Family) -> None:
    policy = make()
    network = policy.network
    assert policy.encoder.target("x").tolist()[-1] == network.tokenizer.convert_tokens_to_ids(family.end_token)
    assert policy.encoder.end_token in network.ends
    written = network.tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert written.rstrip().endswith(family.end_token)


# --- where things lie ---


def linear(policy: Policy) -> set[str]:
    return {name for name, module in policy.model.named_modules() if isinstance(module, nn.Linear)}


def test_adapters_lie_on_the_language_model_alone(make: MakePolicy, family: Family) -> None:
    layers = linear(make())
    within = {name for name in layers if name.startswith(f"{family.language_model}.")}
    assert {name for name in layers if re.fullmatch(family.lora_targets, name)} == within
    assert len(within) >= 4 * ROUGH.layers
    policy = make(lora=LoRA(2, 4, family.lora_targets))
    assert {name.removeprefix("model.").partition(".lora_")[0] for name in policy.trainable()} == within


def test_what_is_kept_whole_is_the_tower_and_the_head(make: MakePolicy, family: Family) -> None:
    layers = linear(make())
    kept = {name for name in layers if name.startswith(tuple(family.kept_whole))}
    assert kept == {name for name in layers if name.startswith((family.vision_tower, family.head))}
    assert family.head in kept
    assert kept | {name for name in layers if name.startswith(family.language_model)} == layers
    assert len(layers - kept) > 0


def test_the_parts_are_found_under_their_paths(make: MakePolicy, family: Family) -> None:
    network = make().network
    assert type(network.model).__name__ == family.model_class
    assert type(network.model.config).__name__ == family.config_class
    assert network.model.config.model_type == family.model_type
    assert len(network.blocks) == ROUGH.layers + ROUGH.vision_layers
    assert network.head.weight.shape == (network.model.config.text_config.vocab_size, network.width)
    held = [
        weight for part in (network.vision_tower, network.language_model, network.head) for weight in part.parameters()
    ]
    assert {id(weight) for weight in held} == {id(weight) for weight in network.model.parameters()}


def test_the_image_processor_cuts_images_as_the_record_says(family: Family) -> None:
    processor = build_image_processor(family)
    assert (processor.patch_size, processor.merge_size) == (family.patch, family.merge)
    assert family.longest_side >= LONGEST_SIDE  # else the reader lets an image through that the processor refuses
    processor(images=[Image.new("RGB", (family.longest_side * 2, 2))], return_tensors="pt")
    with pytest.raises(ValueError, match="aspect ratio"):
        processor(images=[Image.new("RGB", (family.longest_side * 2 + 2, 2))], return_tensors="pt")


# --- what is published ---


@pytest.mark.parametrize("name", [name for family in FAMILIES for name in family.published])
def test_published_models_have_their_published_size(name: str) -> None:
    network = skeleton(PolicyConfig(base=name))
    weights = list(network.model.parameters())
    assert {weight.device.type for weight in weights} == {"meta"}
    assert sum(weight.numel() for weight in weights) == PARAMETERS[name]
    billions = float(re.findall(r"(\d+)B", name)[0])
    assert PARAMETERS[name] / 1e9 == pytest.approx(billions, rel=0.3)  # names count roughly, and leave the tower out


def test_every_published_model_has_a_licence_and_belongs_to_one_family(family: Family) -> None:
    assert family.licenses.keys() == family.published.keys()
    assert all(publisher(name) is family for name in family.published)
    assert publisher("tiny") is None


# --- the record ---


def test_a_record_cannot_be_changed(family: Family) -> None:
    with pytest.raises(FrozenInstanceError):
        family.patch = 1  # type: ignore[misc]


def test_families_are_told_apart_by_what_their_config_says() -> None:
    kinds = [family.model_type for family in FAMILIES]
    assert len(set(kinds)) == len(kinds)


def test_every_field_of_a_record_is_explained() -> None:
    explained = re.findall(r"^        (\w+): ", Family.__doc__ or "", re.MULTILINE)
    assert explained == list(Family.__dataclass_fields__)


def test_settings_and_records_are_read_without_torch() -> None:
    code = "import sys, fea.model.config, fea.model.families.known; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
