"""Families that are not known by name have the words, tokens and gradients of their own stock networks."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SAVE_EACH_STEP, fit, small_config
from exactness import IDS, MASK, Numbers, by_rows, compute_in_64_bits, numbers, told, worst
from hearing import heard_while
from PIL import Image
from strangers import STRANGERS, write_stranger
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from fea.cli import main
from fea.data.example import Example
from fea.data.loader import EpochSampler, Loader
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.export.asked import asked_of
from fea.logprobs import logits
from fea.model import any_family, stock
from fea.model.causal import Causal
from fea.model.chat import written
from fea.model.checkpoints import load_policy
from fea.model.config import LoRA, VisionLoRA
from fea.model.load import check_sharded, count_tokens
from fea.model.policy import Policy
from fea.model.sampling import Generation, noise
from fea.model.stock import Stock
from fea.prompts.prompt import system_prompt, user_prompt
from fea.rollouts.rollout import ask

MakePolicy = Callable[..., Policy]
ENDS = (*range(4, 500, 15), 264, 488, 534)  # besides their own ends, so that answers end at different lengths
# What the prompts of each say around an image of 4 tokens a tile; {image} is what stands for it.
TEXTS = {
    "smolvlm": "<|im_start|>System: {system}<end_of_utterance>\nUser:{image}{asked}<end_of_utterance>\nAssistant:",
    "internvl": "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n<img>{image}</img>\n{asked}<|im_end|>\n"
    "<|im_start|>assistant\n",
    "llava_onevision": "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{image}\n{asked}<|im_end|>\n"
    "<|im_start|>assistant\n",
    "gemma3": "<bos><start_of_turn>user\n{system}\n\n\n\n<start_of_image>{image}<end_of_image>\n\n{asked}<end_of_turn>\n"
    "<start_of_turn>model\n",
    "qwen3_5": "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n<|vision_start|>{image}<|vision_end|>{asked}"
    "<|im_end|>\n<|im_start|>assistant\n",
}


# The others are asked part by part (test_causal.py).
AS_THEY_COME = ["gemma3", "qwen3_5"]


@pytest.fixture(scope="module", params=STRANGERS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def base(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the family, as a folder."""
    return write_stranger(kind, tmp_path_factory.mktemp(kind))


@pytest.fixture
def make(base: Path) -> MakePolicy:
    """Builds a policy on it; keyword arguments change its `PolicyConfig`."""
    return lambda **changes: Policy(small_config(**{"base": str(base), **changes}), {}).eval()


@pytest.fixture(scope="module")
def smolvlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of the families, for what is not about families."""
    return write_stranger("smolvlm", tmp_path_factory.mktemp("one"))


def shown(policy: Policy, example: Example, folder: Path, width: int, height: int) -> Prompt:
    """The prompt of an example with its image at another size."""
    path = folder / f"{width}x{height}.png"
    Image.open(example.image).resize((width, height)).save(path)
    return policy.encoder(example._replace(image=str(path), question="Why? " * (width % 3)))


@pytest.fixture
def uneven(make: MakePolicy, examples: list[Example], tmp_path: Path) -> list[Prompt]:
    """Two prompts of different lengths, with images of different sizes."""
    policy, sizes = make(), [(140, 196), (112, 48)]
    return [shown(policy, example, tmp_path, *size) for example, size in zip(examples, sizes, strict=False)]


def plain(base: Path) -> Any:
    """The network as transformers itself loads it."""
    return AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).eval()


# --- text ---


def test_a_prompt_is_the_text_of_the_familys_template(make: MakePolicy, kind: str, uneven: list[Prompt]) -> None:
    network = make().network
    assert isinstance(network, Stock | Causal)
    assert network.family.manner == STRANGERS[kind].manner
    for prompt in uneven:
        text = network.tokenizer.decode(prompt.ids, clean_up_tokenization_spaces=False)
        before, behind = TEXTS[kind].split("{image}")
        asked = user_prompt(prompt.example.question, prompt.example.emotions)
        before, behind = (part.format(system=system_prompt("brief"), asked=asked) for part in (before, behind))
        assert text.startswith(before)
        assert text.endswith(behind)
        image = text.removeprefix(before).removesuffix(behind)
        assert image.count(network.family.image_token) == int((prompt.ids == network.image_token).sum()) >= 4
        if kind != "smolvlm":  # which asks for a part that reads films
            assert set(image.split(network.family.image_token)) == {""}
            picture = Image.open(prompt.example.image).convert("RGB")
            shown = [{"type": "image", "image": picture}, {"type": "text", "text": asked}]
            said = [{"type": "text", "text": system_prompt("brief")}]
            messages = [{"role": "system", "content": said}, {"role": "user", "content": shown}]
            if STRANGERS[kind].manner == "folded":
                messages = [{"role": "user", "content": [{"type": "text", "text": f"{said[0]['text']}\n\n"}, *shown]}]
            own = network.processor.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
            assert torch.equal(own["input_ids"][0], prompt.ids)
            assert torch.equal(own["pixel_values"], prompt.given["pixel_values"])


def test_a_turn_ends_with_the_token_that_its_template_writes(make: MakePolicy, kind: str) -> None:
    policy, end = make(), STRANGERS[kind].tokens[-1]
    assert policy.encoder.target("x").tolist()[-1] == policy.network.tokenizer.convert_tokens_to_ids(end)
    assert policy.encoder.end_token in policy.network.ends


def test_a_question_that_spells_a_special_token_is_read_as_its_characters(
    make: MakePolicy, kind: str, examples: list[Example]
) -> None:
    encoder = make().encoder
    special = set(encoder.tokenizer.convert_tokens_to_ids(list(STRANGERS[kind].tokens)))
    place = make().network.family.place
    spelled, usual = (encoder(examples[0]._replace(question=text)).ids for text in (f"Is {place} a smile?", "Is it?"))
    assert [token for token in spelled.tolist() if token in special] == [t for t in usual.tolist() if t in special]
    assert place in encoder.tokenizer.decode(spelled).replace("\u2060", "").replace(encoder.general.image_token, place)


def test_an_export_is_asked_in_the_same_words(make: MakePolicy, examples: list[Example]) -> None:
    """A question that spells what stands for an image among them, which a processor would take for one."""
    policy = make()
    place = policy.network.family.place
    prompts = [policy.encoder(examples[0]._replace(question=text)) for text in ("", f"Is {place} a smile?")]
    asked = asked_of([ask(policy, prompts, 1, Generation(2))], policy.encoder)
    for prompt, question in zip(prompts, asked, strict=True):
        expected = policy.encoder.text(prompt.example.question, prompt.example.emotions, prompt.form)
        assert written(policy.network.tokenizer, question.messages, answer=True) == expected
        assert expected.count(place) == 1


def test_another_question_about_the_same_face(make: MakePolicy, uneven: list[Prompt]) -> None:
    encoder = make().encoder
    for prompt in uneven:
        again = encoder.ask(prompt, "Why?")
        expected = encoder(prompt.example._replace(question="Why?"))
        assert torch.equal(again.ids, expected.ids)
        assert again.example == prompt.example
        assert all(
            torch.equal(again.given[name], tensor) for name, tensor in prompt.given.items() if "type" not in name
        )


# --- what is written ---


@pytest.mark.parametrize("count", [6, pytest.param(50, marks=pytest.mark.benchmark)])
def test_greedy_answers_are_those_of_the_stock_generate(
    make: MakePolicy, base: Path, examples: list[Example], tmp_path: Path, count: int
) -> None:
    """Of prompts with images of different sizes; many tokens end an answer, so that their lengths differ."""
    policy, whole, draw = make(), plain(base), random.Random(0)
    network = policy.network
    network.ends = [*network.ends, *ENDS]
    sizes = [(draw.randrange(30, 260), draw.randrange(30, 260)) for _ in range(count)]
    prompts = [shown(policy, examples[n % len(examples)], tmp_path, *size) for n, size in enumerate(sizes)]
    options = {
        "do_sample": False, "max_new_tokens": 6, "eos_token_id": network.ends, "pad_token_id": 0, "repetition_penalty": 1.0,
        "temperature": None, "suppress_tokens": network.forbidden.tolist(),
    }  # fmt: skip
    none = torch.empty(0, dtype=torch.long)
    expected = [whole.generate(**told(p, none), **options)[0, len(p.ids) :].tolist() for p in prompts]
    answers = policy.rollout(prompts, 1, Generation(6), None)
    assert [row[kept.bool()].tolist() for row, kept in zip(answers.ids, answers.mask, strict=True)] == expected
    assert len({tuple(row) for row in expected}) > min(count / 3, 5)
    assert len(set(map(len, expected))) > 1


def test_tokens_are_told_of_as_they_come(make: MakePolicy, uneven: list[Prompt]) -> None:
    policy = make()
    policy.network.ends = [*policy.network.ends, *ENDS]
    told = heard_while(lambda heard: policy.rollout(policy.look(uneven), 2, Generation(6), None, heard=heard))
    whole = told[-1]
    assert len(told) >= 6  # stack by stack where prompts share nothing
    for rows in told[:-1]:
        assert all(row == all_of_it[: len(row)] for row, all_of_it in zip(rows, whole, strict=True))
    assert {len(rows[0]) for rows in told} >= set(range(1, len(whole[0]) + 1))


@pytest.mark.parametrize("lora", [None, LoRA(4, 8)], ids=["all weights", "adapter"])
def test_what_is_sampled_is_as_probable_as_training_says(
    make: MakePolicy, uneven: list[Prompt], lora: LoRA | None
) -> None:
    policy = make(lora=lora)
    torch.manual_seed(0)
    for name, weight in policy.trainable().items():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.3)
    policy.network.ends = [*policy.network.ends, *ENDS, *range(0, 580, 7)]
    chance = noise([prompt.example.id for prompt in uneven], 3, 10, 0, 0)
    generation = Generation(10, temperature=0.8)
    written = policy.rollout(policy.look(uneven), 3, generation, chance)
    lengths = written.mask.sum(dim=1)
    assert lengths.min() < lengths.max()
    logps, entropies = policy.train().logps(uneven, written.ids, written.mask, 0.8)
    assert logps.min() < -4
    torch.testing.assert_close(written.logps, logps, rtol=1e-5, atol=1e-5)
    assert not logps[written.mask == 0].any()
    assert bool((entropies[written.mask.bool()] > 0).all())
    alone = policy.eval().rollout(uneven[1:], 3, generation, chance[3:])  # noise belongs to the example
    assert torch.equal(alone.ids * alone.mask, (written.ids * written.mask)[3:, : alone.ids.shape[1]])


def test_tokens_that_stand_for_images_are_never_sampled(
    make: MakePolicy, kind: str, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are made the most probable ones: without the ban nothing else would be written."""
    policy = make()
    network, prompts = policy.network, [policy.encoder(example) for example in examples[:2]]
    images = network.tokenizer.convert_tokens_to_ids(
        [t for t in STRANGERS[kind].tokens if "im" in t and "im_end" not in t]
    )
    assert {network.image_token, *images} <= set(network.forbidden.tolist())
    monkeypatch.setattr(
        stock, "logits", lambda hidden, head: logits(hidden, head).index_fill(-1, network.forbidden, 1e4)
    )
    for drawn in (noise([prompt.example.id for prompt in prompts], 2, 6, 0, 0), None):
        completions = policy.rollout(prompts, 1 if drawn is None else 2, Generation(6), drawn)
        assert completions.mask.any()
        assert not torch.isin(completions.ids[completions.mask.bool()], network.forbidden).any()


# --- gradients ---


def both(policy: Policy, whole: Any, prompts: list[Prompt], dtype: torch.dtype) -> tuple[Numbers, Numbers]:
    """Of the stock network, and of the policy as in `Stock.logps`, which takes its numbers in fp32 from here on."""
    policy.model.to(dtype), whole.to(dtype)
    halves = zip(prompts, IDS.split(2), MASK.split(2), strict=True)
    padded = torch.cat([policy.network._logits([prompt], ids, mask) for prompt, ids, mask in halves])
    log_p = padded.log_softmax(dim=-1).gather(-1, IDS[..., None])[..., 0][MASK.bool()]
    return by_rows(whole, prompts, dtype), numbers(policy.model, log_p)


@pytest.mark.parametrize("kind", AS_THEY_COME, indirect=True)
def test_values_and_gradients_are_those_of_the_stock_network_on_each_row_alone(
    make: MakePolicy, base: Path, uneven: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 64 bits they are equal. In 32 values are; rounding takes gradients of the stock network itself by 1e-6 to 1e-4."""
    policy = make(train_vision=True).train()
    (expected, own), (found, rounded) = both(policy, plain(base).train(), uneven, torch.float32)
    assert expected.abs().max() > 4
    assert (found - expected).abs().max() < 1e-6 * expected.abs().max()
    told_logps = policy.logps(uneven, IDS, MASK)[0][MASK.bool()]
    network, whole = policy.network, make(train_vision=True).train()
    with torch.no_grad():
        halves = zip(uneven, IDS.split(2), MASK.split(2), strict=True)
        padded = torch.cat([network._logits([prompt], ids, mask) for prompt, ids, mask in halves])
    allowed = padded.index_fill(-1, network.forbidden, -1e30).log_softmax(dim=-1).gather(-1, IDS[..., None])[..., 0]
    torch.testing.assert_close(told_logps, allowed[MASK.bool()].float(), rtol=1e-5, atol=1e-5)
    compute_in_64_bits(monkeypatch)
    (expected, wanted), (found, gradients) = both(whole, plain(base).train(), uneven, torch.float64)
    assert (found - expected).abs().max() < 1e-10 * expected.abs().max()
    assert gradients.keys() == wanted.keys() == rounded.keys()
    assert worst(gradients, wanted) < 1e-10
    assert worst(rounded, wanted) < 1.5 * worst(own, wanted)


@pytest.mark.parametrize("kind", AS_THEY_COME, indirect=True)
def test_what_is_recomputed_and_parts_of_a_group_change_no_gradient(make: MakePolicy, uneven: list[Prompt]) -> None:
    """Checkpointing; microbatches, of which each reads the prompts anew."""
    found = []
    for on in (False, True):
        torch.manual_seed(0)
        policy = make(checkpointing=on, lora=LoRA(4, 8)).train()
        for name, weight in policy.trainable().items():
            if "lora_B" in name:
                nn.init.normal_(weight, std=0.3)
        policy.logps(uneven, IDS, MASK)[0].sum().backward()
        found.append({name: weight.grad.clone() for name, weight in policy.trainable().items()})
        policy.zero_grad()
    assert policy.read(uneven)[1] is None
    for part in (slice(0, None, 2), slice(1, None, 2)):
        policy.logps(uneven, IDS[part], MASK[part])[0].sum().backward()
    found.append({name: weight.grad for name, weight in policy.trainable().items()})
    for name, gradient in found[0].items():
        assert gradient.norm() > 0, name
        assert (found[1][name] - gradient).norm() <= 1e-6 * gradient.norm(), name
        assert (found[2][name] - gradient).norm() <= 1e-5 * gradient.norm(), name


# --- where things lie ---


def test_adapters_lie_on_the_language_model_alone(make: MakePolicy, kind: str) -> None:
    layers = {name for name, module in make().model.named_modules() if isinstance(module, nn.Linear)}
    part = "model.text_model." if kind == "smolvlm" else "model.language_model."
    within = {name for name in layers if name.startswith(part)}
    trained = make(lora=LoRA(2, 4)).trainable()
    assert {name.removeprefix("model.").partition(".lora_")[0] for name in trained} == within
    whole = make().trainable()
    assert {name for name in whole if not name.startswith(("model.lm_head", f"model.{part}"))} == set()
    assert len(make(train_vision=True).trainable()) > len(whole)


def test_nothing_is_left_to_chance_in_training(smolvlm: Path, examples: list[Example], tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(smolvlm)
    config.text_config.attention_dropout = config.vision_config.attention_dropout = 0.5
    model = AutoModelForImageTextToText.from_config(config)
    model.load_state_dict(plain(smolvlm).state_dict())
    folder = write_stranger("smolvlm", tmp_path / "base")
    model.save_pretrained(folder)
    policy = Policy(small_config(base=str(folder)), {})
    prompts = [policy.encoder(example) for example in examples[:2]]
    trained, asked = (policy.train(mode).logps(prompts, IDS, MASK)[0] for mode in (True, False))
    assert torch.equal(trained, asked)


# --- on the way ---


def test_prompts_come_through_the_loader_as_they_are(smolvlm: Path, examples: list[Example], tmp_path: Path) -> None:
    """From workers, too, in one tensor a name; images have different numbers of tiles."""
    policy = Policy(small_config(base=str(smolvlm)), {})
    faces = []
    for number, (example, size) in enumerate(zip(examples, [(64, 64), (64, 20), (30, 80)], strict=False)):
        path = tmp_path / f"{number}.png"
        Image.open(example.image).resize(size).save(path)
        faces.append(example._replace(image=str(path)))
    again = pickle.loads(pickle.dumps(policy.encoder))  # as workers are handed it where they are not forked
    loader = Loader(faces, again, EpochSampler(3, 0, shuffle=False), 3, 0, "raise", training=False)
    (batch,) = loader
    assert len({tuple(prompt.given["pixel_values"].shape) for prompt in batch}) == 2
    for prompt, face in zip(batch, faces, strict=True):
        expected = policy.encoder(face)
        assert torch.equal(prompt.ids, expected.ids)
        assert all(torch.equal(tensor, expected.given[name]) for name, tensor in prompt.given.items())
        assert prompt.given.keys() == expected.given.keys()


@pytest.mark.parametrize(
    ("kind", "layouts"), [("gemma3", {"rows"}), ("smolvlm", {"tree", "group", "rows"})], indirect=["kind"]
)
def test_it_says_once_how_it_is_asked(base: Path, layouts: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    any_family._tell.cache_clear()
    monkeypatch.setattr(any_family, "rank_zero_info", lines.append)
    policies = [Policy(small_config(base=str(base), layout=layout), {}) for layout in ("tree", "group", "rows")]
    assert {policy.config.layout for policy in policies} == layouts
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert ("share no prompt (layout: rows)" in lines[0]) == (layouts == {"rows"})
    assert ("part by part" in lines[0]) == (len(layouts) > 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lora": LoRA(2, 4, vision=VisionLoRA(2))}, "policy.lora.vision: .* smolvlm .*; set it null"),
        ({"vision_attention": "flash_attention_2"}, "policy.vision_attention: .* set sdpa"),
    ],
)
def test_what_cannot_be_had_there_is_refused_before_work_starts(
    smolvlm: Path, changes: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(any_family, "pretrained", lambda *_: pytest.fail("weights are read"))
    with pytest.raises(FEAError, match=sentence):
        Policy(small_config(base=str(smolvlm), **changes), {})


def test_it_is_not_sharded(smolvlm: Path) -> None:
    config = small_config(base=str(smolvlm))
    with pytest.raises(FEAError, match=r"trainer.strategy: .* cannot be sharded; use strategy: ddp"):
        check_sharded(config)
    check_sharded(small_config())
    assert count_tokens(config, "a smile") > 0


def test_a_template_for_text_alone_is_refused(smolvlm: Path, tmp_path: Path) -> None:
    folder = write_stranger("smolvlm", tmp_path / "base")
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    with pytest.raises(FEAError, match=r"chat template that cannot write a question about an image"):
        Policy(small_config(base=str(folder)), {})


# --- whole runs ---

ADAPTER = {"model__policy__lora": '{"rank": 4, "alpha": 8}', "data__train_faces": 12}


@pytest.mark.parametrize(
    "named", ["smolvlm", *(pytest.param(n, marks=pytest.mark.benchmark) for n in list(STRANGERS)[1:])]
)
def test_on_4_bits_an_adapter_trains_and_a_resumed_run_is_one_that_never_stopped(named: str, tmp_path: Path) -> None:
    """From inside a rollout: four packs of it, in two parts each, make two optimizer steps, with replay and a reference."""
    settings = {
        "model__policy__base": write_stranger(named, tmp_path / "base"), "model__policy__four_bit": "true",
        "model__policy__dtype": "bfloat16", "model__policy__checkpointing": "true", "model__minibatches": 2,
        "model__microbatches": 2, "model__objective__beta": 0.1, "model__sft_weight": 0.1,
        "trainer__accumulate_grad_batches": 2, "trainer__max_steps": 4, "model__optimization__lr": 5e-3,
        "trainer__callbacks": f'[{SAVE_EACH_STEP}, {{"class_path": "test_grpo.Vowels"}}]', **ADAPTER,
    }  # fmt: skip
    fit("grpo", tmp_path / "whole", **settings)
    saved = tmp_path / "whole" / "checkpoints"
    fit("grpo", tmp_path / "resumed", **settings, ckpt_path=saved / "step1.ckpt")
    first, whole, resumed = (
        torch.load(file, weights_only=True)["state_dict"]
        for file in (saved / "step1.ckpt", saved / "step4.ckpt", tmp_path / "resumed" / "checkpoints" / "step4.ckpt")
    )
    assert whole.keys() == resumed.keys()
    assert all("lora_" in name for name in whole)
    moved = [name for name, weight in whole.items() if not torch.equal(first[name], weight)]
    assert len(moved) > len(whole) * 0.9
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())


def test_it_is_taught_and_answers(smolvlm: Path, tmp_path: Path, faces_file: Path) -> None:
    settings = {"model__policy__base": smolvlm, "trainer__max_steps": 2, "trainer__limit_val_batches": 1, **ADAPTER}
    cli = fit("sft", tmp_path / "run", **settings)
    assert cli.model.policy.config.layout == "tree"
    trained = {name: weight.detach() for name, weight in cli.model.policy.trainable().items()}
    assert any(weight.abs().max() > 0 for name, weight in trained.items() if "lora_B" in name)
    policy, stored = load_policy(str(tmp_path / "run"), "cpu")
    assert stored.policy.base == str(smolvlm)
    assert all(torch.equal(weight, trained[name]) for name, weight in policy.trainable().items())
    face = next(faces_file.parent.glob("images/*"))
    for model in (tmp_path / "run", smolvlm):
        assert main(["analyze", str(face), "--model", str(model), "--max_tokens", "4", "--device", "cpu"]) == 0


def test_what_is_saved_of_it_is_read_again(smolvlm: Path, examples: list[Example], tmp_path: Path) -> None:
    policy = Policy(replace(small_config(base=str(smolvlm))), {}).eval()
    policy.save(tmp_path / "again")
    again = Policy(small_config(base=str(tmp_path / "again")), {}).eval()
    found, expected = (each.encoder(examples[0]) for each in (again, policy))
    assert torch.equal(found.ids, expected.ids)
    assert again.network.ends == policy.network.ends
    answers = [each.rollout([expected], 1, Generation(6), None).ids for each in (again, policy)]
    assert torch.equal(*answers)
