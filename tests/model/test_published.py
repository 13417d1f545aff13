"""Folders as they are published: a flat config, older names, shards, settings of generation that must not bend answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, fit, small_config
from publishing import publish, read, write
from torch import Tensor
from transformers import AutoModelForImageTextToText

from fea.cli import main
from fea.data.prompt import Prompt
from fea.model.checkpoints import load_policy
from fea.model.config import LoRA
from fea.model.load import skeleton
from fea.model.policy import Policy
from fea.model.sampling import Generation, noise

LENGTH = 12  # tokens of an answer


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as this release of transformers writes it."""
    folder = tmp_path_factory.mktemp("saved")
    Policy(small_config(tiny=replace(SMALL, spread=0.3)), {}).save(folder)
    return folder


@pytest.fixture(scope="module")
def published(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, as it would be published."""
    return publish(saved, tmp_path_factory.mktemp("published") / "base")


def policy_of(folder: Path, **changes: Any) -> Policy:
    return Policy(small_config(base=str(folder), **changes), {}).eval()


def greedy(policy: Policy, prompts: list[Prompt]) -> list[list[int]]:
    """Answers, each to its end."""
    ids, mask = policy.rollout(prompts, 1, Generation(LENGTH), None)[:2]
    return [row[kept].tolist() for row, kept in zip(ids, mask.bool(), strict=True)]


def stock(folder: Path, policy: Policy, prompt: Prompt, **options: Any) -> list[int]:
    """What transformers writes by itself, allowed the tokens that we allow."""
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    images = {"pixel_values": prompt.pixels, "image_grid_thw": prompt.grid[None]}
    # It makes positions from the kind of each token: 1 for a part of an image.
    kinds = (prompt.ids == policy.network.image_token).int()[None]
    written: Tensor = model.generate(
        prompt.ids[None],
        attention_mask=torch.ones_like(prompt.ids[None]),
        mm_token_type_ids=kinds,
        max_new_tokens=LENGTH,
        suppress_tokens=policy.network.forbidden.tolist(),
        **images,
        **options,
    )
    return written[0, len(prompt.ids) :].tolist()


def test_it_is_spelled_as_a_published_one(published: Path) -> None:
    config, generation = read(published / "config.json"), read(published / "generation_config.json")
    index = read(published / "model.safetensors.index.json")["weight_map"]
    assert "text_config" not in config
    assert config["rope_scaling"]["type"] == "mrope"
    assert {"in_chans", "spatial_patch_size", "tokens_per_second"} <= config["vision_config"].keys()
    assert {name.partition(".")[0] for name in index} == {"model", "visual"}
    assert not [name for name in index if "language_model" in name]
    assert (generation["repetition_penalty"], generation["temperature"]) == (1.05, 1e-6)
    assert len(generation["eos_token_id"]) == 2
    assert not {"size", "chat_template"} & read(published / "preprocessor_config.json").keys()


def test_it_is_read_whole(saved: Path, published: Path, prompts: list[Prompt]) -> None:
    found, expected = policy_of(published), policy_of(saved)
    assert found.state_dict().keys() == expected.state_dict().keys()
    assert all(torch.equal(weight, expected.state_dict()[name]) for name, weight in found.state_dict().items())
    assert found.network.ends == expected.network.ends
    text, vision = (found.model.config.text_config, found.model.config.vision_config)
    assert text.rope_parameters["mrope_section"] == [2, 3, 3]
    assert text.rope_parameters["rope_theta"] == 10_000.0
    assert text.sliding_window is None
    assert vision.fullatt_block_indexes == [1]
    example = prompts[0].example
    for part in ("ids", "positions", "grid"):
        assert torch.equal(getattr(found.encoder(example), part), getattr(expected.encoder(example), part))


def test_a_head_of_its_own_is_read_too(saved: Path, tmp_path: Path) -> None:
    """The smaller ones are tied, the larger ones not."""
    untied = policy_of(saved)
    untied.model.config.tie_word_embeddings = untied.model.config.text_config.tie_word_embeddings = False
    head = torch.nn.Parameter(torch.randn_like(untied.network.head.weight))
    untied.network.head.weight = head
    untied.save(tmp_path / "untied")
    published = publish(tmp_path / "untied", tmp_path / "published")
    assert torch.equal(policy_of(published).network.head.weight, head)


def test_settings_of_generation_bend_neither_samples_nor_greedy_answers(
    saved: Path, published: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    strong = publish_again(published, tmp_path / "base", repetition_penalty=20.0)  # at 1.05 random weights shrug
    found, expected = policy_of(strong), policy_of(saved)
    chance = noise([prompt.example.id for prompt in prompts], 2, LENGTH, 0, 0)
    for one, other in zip(
        found.rollout(prompts, 2, Generation(LENGTH), chance),
        expected.rollout(prompts, 2, Generation(LENGTH), chance),
        strict=True,
    ):
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other
    answers = greedy(found, prompts)
    assert answers == greedy(expected, prompts)
    plain = {"do_sample": False, "repetition_penalty": 1.0, "temperature": None}
    told = [stock(strong, found, prompt, **plain) for prompt in prompts]
    assert answers == told
    assert [stock(strong, found, prompt) for prompt in prompts] != told  # there is something to bend


def test_both_ends_that_it_names_end_an_answer(published: Path, prompts: list[Prompt], tmp_path: Path) -> None:
    """Two tokens are made ends that the first two answers hold at other places."""
    whole = greedy(policy_of(published), prompts[:2])
    first = whole[0][2]
    second = next(token for token in whole[1][3:] if token != first)
    other = publish_again(published, tmp_path / "base", eos_token_id=[first, second])
    policy = policy_of(other)
    assert policy.network.ends[:2] == [first, second]
    for cut, answer in zip(greedy(policy, prompts[:2]), whole, strict=True):
        places = [place for place, token in enumerate(answer) if token in (first, second)]
        assert cut == answer[: places[0] + 1]
    assert {answer[-1] for answer in greedy(policy, prompts[:2])} == {first, second}


def publish_again(published: Path, out: Path, **generation: Any) -> Path:
    """A copy with other settings of generation."""
    out.mkdir()
    for file in published.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    write(out / "generation_config.json", read(published / "generation_config.json") | generation)
    return out


def test_an_adapter_finds_its_layers(published: Path) -> None:
    names = policy_of(published, lora=LoRA(2, 4)).trainable()
    assert len(names) == 2 * 7 * SMALL.layers
    assert all(".language_model.layers." in name for name in names)


def test_a_plan_counts_the_same_bytes(saved: Path, published: Path) -> None:
    found, expected = (skeleton(small_config(base=str(folder))).model for folder in (published, saved))
    sizes = {name: tuple(weight.shape) for name, weight in found.named_parameters()}
    assert sizes == {name: tuple(weight.shape) for name, weight in expected.named_parameters()}


def test_it_is_trained_planned_and_answers(
    published: Path, tmp_path: Path, faces_file: Path, capsys: pytest.CaptureFixture[str], prompts: list[Prompt]
) -> None:
    adapter = {"model__policy__base": published, "model__policy__lora": '{"rank": 2, "alpha": 4}'}
    cli = fit("sft", tmp_path / "run", trainer__max_steps=2, **adapter)
    trained = {name: weight.detach() for name, weight in cli.model.policy.trainable().items()}
    assert any(weight.abs().max() > 0 for name, weight in trained.items() if "lora_B" in name)
    policy, told = load_policy(str(tmp_path / "run"), "cpu")
    assert told.policy.base == str(published)
    assert all(torch.equal(weight, trained[name]) for name, weight in policy.trainable().items())
    run = ["--config", "configs/sft.yaml", "--config", "configs/demo.yaml", f"--model.policy.base={published}"]
    assert main(["plan", *run]) == 0
    assert f"memory plan of {published}" in capsys.readouterr().out
    face = next(faces_file.parent.glob("images/*"))
    assert main(["analyze", str(face), "--model", str(tmp_path / "run"), "--max_tokens", "4", "--device", "cpu"]) == 0


def test_what_is_saved_of_it_is_read_again(published: Path, tmp_path: Path, prompts: list[Prompt]) -> None:
    policy = policy_of(published)
    policy.save(tmp_path / "again")
    again = policy_of(tmp_path / "again")
    assert greedy(again, prompts) == greedy(policy, prompts)
    assert again.network.ends == policy.network.ends
