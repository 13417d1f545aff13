"""What every family has to show: the exactness of its layouts, its own positions, and a record that is true of its network."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, small_config
from PIL import Image
from torch import nn

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.images.opening import LONGEST_SIDE
from fea.logprobs import logits
from fea.model import decoding
from fea.model.config import LayoutName, LoRA, PolicyConfig
from fea.model.families.family import Family
from fea.model.families.known import FAMILIES, publisher
from fea.model.load import skeleton
from fea.model.policy import Policy
from fea.model.sampling import Generation, noise
from fea.model.tiny import build_image_processor, build_model, build_tokenizer

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
ROUGH = replace(SMALL, spread=0.3)
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


def test_all_layouts_equal_plain_rows(make: MakePolicy, examples: list[Example], tmp_path: Path) -> None:
    policy = make()
    prompts = [
        shown(policy, example, tmp_path, *size)
        for example, size in zip(examples, [(140, 196), (112, 84)], strict=False)
    ]

    def logps(layout: LayoutName) -> Any:
        policy.config = replace(policy.config, layout=layout)
        return torch.stack(policy.logps(prompts, IDS, MASK))

    expected = logps("rows")
    assert expected.abs().amax() > 1
    for layout in ("tree", "group"):
        torch.testing.assert_close(logps(layout), expected, rtol=1e-4, atol=1e-4)


# --- tokens ---


def test_tokens_that_would_break_the_next_pass_are_never_sampled(
    make: MakePolicy, family: Family, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are made the most probable ones: without the ban nothing else would be written."""
    policy = make()
    prompts = [policy.encoder(example) for example in examples[:4]]
    network, names = policy.network, family.never_sampled.values()
    assert family.image_token in names
    told = {name for name in vars(network.model.config) if re.fullmatch(r"(image|video|vision)\w*_token_id", name)}
    assert told == family.never_sampled.keys()
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
    told = re.findall(r"^        (\w+): ", Family.__doc__ or "", re.MULTILINE)
    assert told == list(Family.__dataclass_fields__)


def test_settings_and_records_are_read_without_torch() -> None:
    code = "import sys, fea.model.config, fea.model.families.known; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
