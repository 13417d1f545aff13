"""Models that no run stands behind: a base as it is, an exported folder, adapters that PEFT itself wrote."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from conftest import FACE_PIXELS, SMALL, fit, small_config
from publishing import publish, read, write
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForImageTextToText

import fea
from fea.commands import _weights
from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.model import elsewhere
from fea.model.checkpoints import load_policy, stored
from fea.model.config import LoRA, PolicyConfig
from fea.model.policy import Policy
from fea.prompts.prompt import PROMPT_VERSION

CPU = torch.device("cpu")
PIXELS = {"min_pixels": FACE_PIXELS, "max_pixels": FACE_PIXELS}
ASKED = {"prompt": PROMPT_VERSION, "knowledge": "brief", "emotions": ["calm", "fear"], "datasets": ["mine"], **PIXELS}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base as it is published."""
    place = tmp_path_factory.mktemp("elsewhere")
    Policy(small_config(tiny=replace(SMALL, spread=0.3)), {}).save(place / "saved")
    return publish(place / "saved", place / "base")


def adapter(base: Path, out: Path, targets: Any = r".*language_model.*_proj", **settings: Any) -> Any:
    """An adapter with random weights, made and written by PEFT alone; the stock model with it."""
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": targets, **settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        adapted = peft.get_peft_model(model, config)
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.1)
    adapted.save_pretrained(out)
    return adapted.eval()


@pytest.fixture
def written(base: Path, tmp_path: Path) -> Path:
    """Its folder."""
    adapter(base, tmp_path / "adapter")
    return tmp_path / "adapter"


@torch.no_grad()
def stock_logps(model: Any, policy: Policy, prompt: Prompt, answer: list[int]) -> Tensor:
    """Log-probabilities of an answer by the stock forward pass, over the tokens that may be written."""
    ids = torch.cat([prompt.ids, torch.tensor(answer)])[None]
    kinds = (ids == policy.network.image_token).int()
    images = {"pixel_values": prompt.pixels, "image_grid_thw": prompt.grid[None]}
    logits = model(ids, mm_token_type_ids=kinds, **images).logits[0, len(prompt.ids) - 1 : -1]
    logits[:, policy.network.forbidden] = -torch.inf
    return logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]


def test_a_base_is_asked_as_it_is_with_the_prompt_of_a_new_fit(base: Path, examples: list[Example]) -> None:
    policy, told = load_policy(str(base), "cpu")
    assert policy.config == PolicyConfig(base=str(base))
    assert (told.datasets, told.precision) == (frozenset(), "32-true")
    assert told.emotions == stored_default()
    files = [example.image for example in examples[:3]]
    analyzer = fea.load(base, "cpu")
    texts = [result.text for result in analyzer.analyze(files, max_tokens=6)]
    assert len(set(texts)) > 1
    one = analyzer.analyze(files[0], emotions=["calm"], max_tokens=6)[0]
    assert one.text != texts[0]  # the allowed emotions reach the prompt


def stored_default() -> tuple[str, ...]:
    from fea.data.module import FEADataModule

    return FEADataModule().emotions


def test_an_exported_folder_is_asked_as_its_run_was(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "export")
    write(folder / "fea.json", ASKED)
    policy, told = load_policy(str(folder), "cpu")
    assert policy.config == PolicyConfig(base=str(folder), knowledge="brief", **PIXELS)
    assert (told.emotions, told.datasets) == (("calm", "fear"), {"mine"})
    assert dict(policy.network.image_processor.size) == {"shortest_edge": FACE_PIXELS, "longest_edge": FACE_PIXELS}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps({**ASKED, "prompt": "0"}), "is of prompt version 0, this is version"),
        (json.dumps({**ASKED, "crop": "face"}), "asks for cropped images (face)"),
        ("{", "is no JSON"),
        ("[]", "holds no settings"),
    ],
)
def test_an_export_of_another_release_is_refused(base: Path, tmp_path: Path, content: str, said: str) -> None:
    folder = shutil.copytree(base, tmp_path / "export")
    (folder / "fea.json").write_text(content)
    with pytest.raises(FEAError, match=re.escape(said)):
        load_policy(str(folder), "cpu")


SEEING = [r"q_proj", "qkv", "mlp.0"]  # of the language model, the tower and the merger


@pytest.mark.parametrize(
    ("targets", "settings"),
    [
        (r".*language_model.*_proj", {}),
        (["q_proj", "v_proj"], {}),
        (["q_proj", "layers.0.mlp.up_proj"], {}),
        (r".*language_model.*_proj", {"use_rslora": True, "lora_alpha": 6.5}),
        (r".*language_model.*_proj", {"rank_pattern": {"q_proj": 2, "layers.1.*": 3}, "alpha_pattern": {"v_proj": 5}}),
        (SEEING, {"rank_pattern": {"qkv": 6, "0": 2}, "alpha_pattern": {"visual.*": 20}}),
    ],
    ids=["all", "two kinds", "single ones", "rsLoRA", "ranks and alphas", "tower"],
)
def test_an_adapter_of_peft_says_what_it_says_in_peft(
    base: Path, tmp_path: Path, targets: Any, settings: dict[str, Any], prompts: list[Prompt]
) -> None:
    model = adapter(base, tmp_path / "adapter", targets, **settings)
    write(tmp_path / "adapter" / "fea.json", ASKED)
    policy, told = load_policy(str(tmp_path / "adapter"), "cpu")
    assert told.policy.base == str(base)
    assert told.emotions == ("calm", "fear")
    ids, mask = policy.rollout(prompts, 1, fea_generation(), None)[:2]
    found = policy.logps(prompts, ids, mask)[0]
    plain = Policy(replace(policy.config, lora=None), {}).eval()
    assert not torch.allclose(plain.logps(prompts, ids, mask)[0], found, atol=1e-2)
    for prompt, row, kept, logps in zip(prompts, ids, mask.bool(), found, strict=True):
        expected = stock_logps(model, policy, prompt, row[kept].tolist())
        torch.testing.assert_close(logps[kept], expected, rtol=1e-4, atol=1e-5)


def fea_generation() -> Any:
    from fea.model.sampling import Generation

    return Generation(8)


def test_an_adapter_on_all_layers_is_the_usual_one_and_others_are_narrower(base: Path, tmp_path: Path) -> None:
    adapter(base, tmp_path / "all")
    adapter(base, tmp_path / "few", ["q_proj", "v_proj"])
    assert stored(str(tmp_path / "all")).policy.lora == LoRA(4, 8)
    few = load_policy(str(tmp_path / "few"), "cpu")[0].trainable()
    assert len(few) == 2 * 2 * SMALL.layers
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in few} == {"q_proj", "v_proj"}


def test_layers_are_found_by_the_names_of_earlier_years(written: Path, prompts: list[Prompt]) -> None:
    expected = load_policy(str(written), "cpu")[0].trainable()
    file = written / "adapter_model.safetensors"
    weights = {name.replace("model.language_model.", "model."): weight for name, weight in load_file(file).items()}
    assert not [name for name in weights if "language_model" in name]
    save_file(weights, file)
    found = load_policy(str(written), "cpu")[0].trainable()
    assert all(torch.equal(weight, found[name]) for name, weight in expected.items())


def test_the_base_of_an_adapter_is_named_lies_beside_it_or_is_where_it_was(
    base: Path, written: Path, tmp_path: Path
) -> None:
    told = read(written / "adapter_config.json")
    write(written / "adapter_config.json", told | {"base_model_name_or_path": "beside"})
    copy = shutil.copytree(base, tmp_path / "beside")
    assert load_policy(str(written), "cpu")[1].policy.base == str(copy)
    assert load_policy(str(written), "cpu", str(base))[1].policy.base == str(base)
    write(written / "adapter_config.json", told | {"base_model_name_or_path": str(tmp_path / "away")})
    with pytest.raises(FEAError, match=r"is not at '.*away'; name it with --base FOLDER_OR_HUB_NAME"):
        load_policy(str(written), "cpu")
    with pytest.raises(FEAError, match=r"is a whole model and needs none; leave --base out"):
        load_policy(str(base), "cpu", str(base))


def test_a_base_that_is_found_nowhere_is_named_once_for_all(base: Path, written: Path, tmp_path: Path) -> None:
    told = read(written / "adapter_config.json")
    write(
        written / "adapter_config.json", told | {"base_model_name_or_path": "model"}
    )  # as of a folder, by its own name
    write(written / "fea.json", {**ASKED, "base": "../bases/model"})
    with pytest.raises(
        FEAError, match=r"adapter' was trained on is not at '\.\./bases/model'; name it with --base FOLDER"
    ):
        load_policy(str(written), "cpu")
    assert stored(str(written), str(base)).policy.base == str(base)
    start = {
        "model__policy__base": base,
        "model__init_from": written,
    }  # as fea test --model ADAPTER --base BASE sets it up
    cli = fit("sft", tmp_path / "run", trainer__max_steps=1, model__policy__lora='{"rank": 4, "alpha": 8}', **start)
    assert cli.model.before.policy.base == str(base)
    assert _weights.facts(None, cli.model)["datasets"] == ["mine"]
    copy = shutil.copytree(base, tmp_path / "bases" / "model")
    shutil.copytree(base, tmp_path / "model")  # the path from there tells more than the name
    assert load_policy(str(written), "cpu")[1].policy.base == str(copy)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"use_dora": True}, "only a plain LoRA is read, and this one has use_dora; merge it with PEFT first"),
        ({"bias": "all"}, "this one has bias"),
        ({"peft_type": "IA3"}, "this one has IA3"),
        ({"lora_alpha": 0}, "has lora_alpha 0; give one above 0"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(written: Path, changes: dict[str, Any], said: str) -> None:
    write(written / "adapter_config.json", read(written / "adapter_config.json") | changes)
    with pytest.raises(FEAError, match=re.escape(said)) as refused:
        load_policy(str(written), "cpu")
    assert "\n" not in str(refused.value)


def test_adapters_on_other_layers_and_damaged_ones_are_refused(base: Path, written: Path, tmp_path: Path) -> None:
    adapter(base, tmp_path / "tower", ["qkv"])
    (written / "adapter_model.safetensors").write_bytes(b"damaged")
    for name, said in {
        "tower": "has an adapter on the vision tower alone; merge it with PEFT first",
        "adapter": "holds no weights that can be read in adapter_model.safetensors",
    }.items():
        with pytest.raises(FEAError, match=re.escape(said)):
            load_policy(str(tmp_path / name), "cpu")


def test_a_fit_begins_with_an_adapter_of_peft(base: Path, written: Path, tmp_path: Path) -> None:
    """Stage 2, say, from what another trainer made of stage 1."""
    begun = load_policy(str(written), "cpu")[0].trainable()
    same = {"model__policy__base": base, "model__init_from": written, "model__optimization__lr": 0.0}
    cli = fit("sft", tmp_path / "run", trainer__max_steps=1, model__policy__lora='{"rank": 4, "alpha": 8}', **same)
    kept = cli.model.policy.trainable()
    assert all(torch.equal(weight, kept[name]) for name, weight in begun.items())
    with pytest.raises(FEAError, match=r"policy\.lora: rank 2 and alpha 4, but .* with rank 4 and alpha 8"):
        fit("sft", tmp_path / "other", trainer__max_steps=1, model__policy__lora='{"rank": 2, "alpha": 4}', **same)


def test_names_of_runs_of_the_hub_and_of_folders_are_told_apart(base: Path, written: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name in (str(base), str(written), "Qwen/Qwen2.5-VL-3B-Instruct"):
        assert elsewhere.names_one(name)
    for name in (
        "runs/sft",
        "nowhere",
        "tiny",
        "./sft",
        str(tmp_path / "run"),
        str(tmp_path / "away"),
        "a/b/last.ckpt",
    ):
        assert not elsewhere.names_one(name)
