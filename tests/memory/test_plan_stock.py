"""The memory plan of bases that are asked as they come, against the bytes that they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import fit_arguments, small_config
from planned import BF16, LORA, alike, check
from strangers import write_stranger
from transformers import AutoConfig, AutoModelForImageTextToText, Gemma3TextConfig

from fea.cli import main
from fea.memory.dry_run import TensorBytes, longest_prompts
from fea.memory.dry_stock import DryStock
from fea.memory.setting import Setting, Spread
from fea.model.config import LoRA
from fea.model.outline import kinds_of
from fea.model.policy import Policy
from fea.model.sampling import Generation
from fea.model.stock import Stock

# Of the language model: of two kinds in turn, so that the last round of them is half a one. Dry runs have 2 and 4.
LAYERS = 5
WIDE = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": LAYERS, "head_dim": 32}
FAMILIES = ("gemma3", "qwen3_5")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models of two families, as folders."""
    return {kind: write_wide(kind, tmp_path_factory.mktemp(kind)) for kind in FAMILIES}


def write_wide(kind: str, folder: Path) -> Path:
    """A stranger with a larger language model."""
    write_stranger(kind, folder)
    config = AutoConfig.from_pretrained(folder)
    kinds = config.text_config.layer_types
    config.text_config.layer_types = [kinds[layer % 2] for layer in range(LAYERS)]
    config.text_config.update(WIDE)
    if kind == "qwen3_5":
        config.vision_config.out_hidden_size = WIDE["hidden_size"]
    AutoModelForImageTextToText.from_config(type(config).from_dict(config.to_dict())).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "stage", "own"),
    [("gemma3", "grpo", LORA), ("gemma3", "sft", BF16), ("qwen3_5", "grpo", BF16), ("qwen3_5", "sft", LORA)],
    ids=lambda value: value if isinstance(value, str) else "bf16" if value == BF16 else "fp32",
)
def test_the_plan_is_within_10_percent_of_what_training_takes(
    bases: dict[str, Path], faces_file: Path, tmp_path: Path, kind: str, stage: str, own: dict[str, Any]
) -> None:
    data = alike(tmp_path / "alike.jsonl", faces_file) if stage == "sft" else {}
    check(tmp_path, stage, **own, **data, model__policy__base=bases[kind])


# --- dry runs ---


def setting(base: Path, precision: str = "32-true") -> Setting:
    numbers = dict.fromkeys(("packs", "minibatches", "microbatches"), 1)
    dtype = "bfloat16" if precision == "bf16-mixed" else "float32"
    policy = small_config(base=str(base), lora=LoRA(8, 16), dtype=dtype)
    return Setting(
        policy=policy, **numbers, batch_size=2, group_size=4, max_tokens=16, analysis=0, eval_batch_size=2, reference=False,
        entropy=False, eight_bit=False, precision=precision, spread=Spread(),
    )  # fmt: skip


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_what_is_run_dry_takes_what_the_real_takes(bases: dict[str, Path], kind: str, precision: str) -> None:
    """The passes of an update, and completions that are sampled and greedy, with a prompt as the processor makes it."""
    told = setting(bases[kind], precision)
    policy, dry = Policy(told.policy, {}).train(), DryStock(told, LAYERS)
    prompt, *_ = longest_prompts(told.policy, policy.network)
    for weight in policy.trainable().values():
        weight.grad = torch.zeros_like(weight)
    there = [*policy.parameters(), *policy.buffers(), *(weight.grad for weight in policy.trainable().values())]
    there += [prompt.ids, *(prompt.given or {}).values()]
    ids_NT = torch.full((8, 16), int(prompt.ids[-1]))
    low = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed")
    with low, TensorBytes(there) as passes:
        policy.logps([prompt, prompt], ids_NT, torch.ones_like(ids_NT))[0].sum().backward()
    assert dry.update(2, 8, 16) == pytest.approx(passes.peak, rel=0.02)
    policy.eval()
    for group, noise_NT in ((4, torch.rand(8, 16, dtype=torch.float64)), (1, None)):
        with low, TensorBytes(there) as writing:
            written = policy.rollout([prompt, prompt], group, Generation(16), noise_NT)
        assert written.ids.shape[1] == 16
        assert dry.writing(2, group, 16) == pytest.approx(writing.peak, rel=0.02)


def test_the_kinds_of_layers_are_told_once() -> None:
    for layers, length in ((34, 6), (8, 6), (5, 1)):
        text = Gemma3TextConfig(num_hidden_layers=layers)
        found = kinds_of(text)
        assert len(found) == length
        assert [found[layer % length] for layer in range(layers)] == text.layer_types
    assert kinds_of(object()) == []


# --- the command ---


def test_the_command_counts_a_prompt_for_every_completion(
    bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = fit_arguments("grpo", tmp_path / "run", model__policy__base=bases["gemma3"], **LORA)
    assert main(["plan", *words[1:], "--gpu", "2GB"]) == 0
    shown = capsys.readouterr().out
    assert f"memory plan of {bases['gemma3']}" in shown
    assert "fits into 2.00 GiB" in shown
    assert "4 tokens each by the base's processor" in shown


def test_a_network_that_goes_by_what_it_computes_has_no_plan(
    bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Stock._logits

    def curious(*given: Any) -> torch.Tensor:
        found = whole(*given)
        return found if float(found.sum()) else -found

    monkeypatch.setattr(Stock, "_logits", curious)
    words = fit_arguments("sft", tmp_path / "run", model__policy__base=bases["gemma3"], **LORA)
    assert main(["plan", *words[1:]]) == 2
    assert "no memory can be planned" in capsys.readouterr().err
