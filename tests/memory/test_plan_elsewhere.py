"""The memory plan of families that are not known by name, against the bytes that they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FACE_PIXELS, fit_arguments, small_config
from planned import BF16, LORA, alike, check
from strangers import write_stranger
from transformers import AutoConfig, AutoModelForImageTextToText

from fea.cli import main
from fea.memory.advice import verdict
from fea.memory.dry_run import DryRun, TensorBytes, longest_prompts
from fea.memory.plan import plan, prompt_shape
from fea.memory.setting import Setting, Spread
from fea.model.config import LoRA, PolicyConfig
from fea.model.load import skeleton
from fea.model.policy import Policy

# Of the language model: what its tensors take is to outweigh what Python and the loop take beside them.
LAYERS = 3
WIDE = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": LAYERS, "head_dim": 32}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models of three families, as folders."""
    return {
        kind: write_wide(kind, tmp_path_factory.mktemp(kind)) for kind in ("smolvlm", "internvl", "llava_onevision")
    }


def write_wide(kind: str, folder: Path) -> Path:
    """A stranger with a larger language model."""
    write_stranger(kind, folder)
    config = AutoConfig.from_pretrained(folder)
    config.text_config.layer_types = None  # one for each layer
    config.text_config.update(WIDE)
    AutoModelForImageTextToText.from_config(type(config).from_dict(config.to_dict())).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "stage", "own"),
    [
        ("smolvlm", "grpo", BF16),
        ("smolvlm", "sft", LORA),
        ("internvl", "grpo", LORA),
        ("internvl", "sft", BF16),
        ("llava_onevision", "grpo", {**LORA, "model__policy__checkpointing": "true"}),
        ("llava_onevision", "sft", BF16),
    ],
    ids=lambda value: value if isinstance(value, str) else "bf16" if value == BF16 else "fp32",
)
def test_the_plan_is_within_10_percent_of_what_training_takes(
    bases: dict[str, Path], faces_file: Path, tmp_path: Path, kind: str, stage: str, own: dict[str, Any]
) -> None:
    data = alike(tmp_path / "alike.jsonl", faces_file) if stage == "sft" else {}
    check(tmp_path, stage, **own, **data, model__policy__base=bases[kind])


# --- dry runs ---


def setting(policy: PolicyConfig, **changes: Any) -> Setting:
    numbers = dict.fromkeys(("packs", "minibatches", "microbatches"), 1)
    alone: dict[str, Any] = {"reference": False, "entropy": False, "eight_bit": False, "precision": "32-true"}
    sizes: dict[str, Any] = {"batch_size": 2, "group_size": 4, "max_tokens": 16, "analysis": 0, "eval_batch_size": 2}
    return Setting(policy=policy, **{**numbers, **alone, **sizes, "spread": Spread(), **changes})


@pytest.mark.parametrize(
    ("kind", "layout"),
    [("smolvlm", "tree"), ("smolvlm", "group"), ("smolvlm", "rows"), ("internvl", "tree"), ("llava_onevision", "tree")],
)
def test_passes_run_dry_take_what_real_ones_do(bases: dict[str, Path], kind: str, layout: str) -> None:
    """Of a tower and a language model that are trained, one after the other, with a prompt as the processor makes it."""
    told = setting(small_config(base=str(bases[kind]), layout=layout, train_vision=True))
    network, dry = skeleton(told.policy), DryRun(told, LAYERS)
    policy, shape = Policy(told.policy, {}).train(), prompt_shape(told, network)
    prompt, *_ = longest_prompts(told.policy, policy.network)
    ids_NT = torch.full((8, 16), 20)
    for weight in policy.parameters():
        weight.grad = torch.zeros_like(weight)
    there = [*policy.parameters(), *policy.buffers(), *(weight.grad for weight in policy.parameters()), prompt.ids]
    there += (prompt.given or {}).values()
    with TensorBytes(there) as looking:
        (seen,) = policy.network.features([prompt])
        kept = looking.now
        seen.tokens.sum().backward()
    assert dry.remembering() == pytest.approx(kept, rel=0.01)
    assert dry.seeing() == pytest.approx(looking.peak, rel=0.01)
    assert len(seen.tokens) == shape.visual > 10
    features = seen._replace(tokens=seen.tokens.detach().requires_grad_())
    asked = [prompt._replace(features=features), prompt._replace(features=features)]
    with TensorBytes([*there, features.tokens]) as passes:
        policy.logps(asked, ids_NT, torch.ones_like(ids_NT))[0].sum().backward()
    assert dry.update(2, shape, 8, 16) == pytest.approx(passes.peak, rel=0.01)


# --- the command ---


def test_the_command_says_which_images_it_takes_for_granted(
    bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = fit_arguments("grpo", tmp_path / "run", model__policy__base=bases["smolvlm"], **LORA)
    assert main(["plan", *words[1:], "--gpu", "2GB"]) == 0
    shown = capsys.readouterr().out
    assert f"memory plan of {bases['smolvlm']}" in shown
    assert "in the update" in shown
    assert "fits into 2.00 GiB" in shown
    # Four tiles and the whole, four tokens each.
    assert (
        "assumed: images of 112 x 112 pixels (model.policy.max_pixels), 20 tokens each by the base's processor" in shown
    )


def test_nothing_is_advised_that_other_families_do_not_go_by(bases: dict[str, Path]) -> None:
    """A prompt at a time, of which one answer is learned: there is little else to change."""
    config = PolicyConfig(base=str(bases["internvl"]), lora=LoRA(4, 8), checkpointing=True, min_pixels=FACE_PIXELS // 4)
    told = setting(config, batch_size=1, group_size=1, eval_batch_size=1, spread=Spread(2))
    said = verdict(told, plan(told), card=1.0)
    assert "model.policy.four_bit to true" in said
    assert "max_pixels" not in said
    assert "trainer.strategy" not in said


def test_a_base_that_is_not_here_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = fit_arguments("sft", tmp_path / "run", model__policy__base="HuggingFaceTB/SmolVLM2-2.2B-Instruct")
    assert main(["plan", *words[1:]]) == 2
    assert "cannot load 'HuggingFaceTB/SmolVLM2-2.2B-Instruct' from a folder or the hub" in capsys.readouterr().err
