"""Of sharded weights only the first process ever holds the whole; yet all begin with what one process would have built."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SAVE_EACH_STEP, SMALL, fit, fit_arguments, small_config
from lightning.pytorch import Callback, Trainer
from measuring import Measured
from processes import ended, start_together
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor

from fea.errors import FEAError
from fea.model.policy import Policy
from fea.sft import SFTModule
from fea.system import processes

FOLDER = "FEA_MEASURED"  # where processes write what they have found
BUILT, MEASURED = ({"class_path": f"test_shared_build.{name}"} for name in ("Built", "Building"))


class Built(Callback):
    """Writes what a process begins with."""

    def on_fit_start(self, trainer: Trainer, module: Any) -> None:
        """All is built."""
        model = module.policy.model
        named, once = dict(model.named_parameters(remove_duplicate=False)), dict(model.named_parameters())
        found = {
            **{name: weight.full_tensor() if isinstance(weight, DTensor) else weight for name, weight in named.items()},
            **dict(model.named_buffers()),
        }
        told = [(name, weight.requires_grad, name in once) for name, weight in named.items()]
        told += [(module.frozen, module.inherits, module.policy.network.ends, torch.get_rng_state().tolist())]
        torch.save(({name: tensor.detach() for name, tensor in found.items()}, told), place(trainer))


class Building(Measured):
    """Writes the most bytes that there were in a process until it began to train."""

    def on_fit_start(self, trainer: Trainer, module: Any) -> None:
        """All is built."""
        blocks = [sum(weight.numel() for weight in block.parameters()) for block in module.policy.network.blocks]
        all_weights = sum(weight.numel() for weight in module.policy.parameters())
        parts = [*blocks, all_weights - sum(blocks)]
        place(trainer).write_text(json.dumps([self.peaks()["start"], 4 * all_weights, 4 * max(parts)]))

    def on_fit_end(self, trainer: Trainer, module: Any) -> None:
        """Nothing more."""


def place(trainer: Trainer) -> Path:
    """Where a process writes."""
    return Path(os.environ[FOLDER]) / f"{trainer.global_rank}-of-{trainer.world_size}"


def begin(folder: Path, count: int, callback: dict[str, str], **settings: Any) -> list[Any]:
    """Runs a fit of some processes; returns how each has ended."""
    words = fit_arguments(
        "sft", folder / "run", trainer__devices=count, trainer__strategy="fsdp2" if count > 1 else "auto",
        trainer__callbacks=json.dumps([callback]), trainer__max_steps=1, data__batch_size=2, overwrite=True, **settings
    )  # fmt: skip
    return [ended(process, timeout=120) for process in start_together(words, count, **{FOLDER: str(folder)})]


def check(folder: Path, **settings: Any) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Holds that both of two processes begin with what one alone does; returns that."""
    for count in (1, 2):
        for done in begin(folder, count, BUILT, **settings):
            assert done.returncode == 0, done.stderr[-3000:]
    expected, told = torch.load(folder / "0-of-1", weights_only=False)
    for rank in range(2):
        found, seen = torch.load(folder / f"{rank}-of-2", weights_only=False)
        assert seen == told
        assert list(found) == list(expected)
        for name, tensor in expected.items():
            assert found[name].dtype == tensor.dtype, name
            assert torch.equal(found[name], tensor), name
    assert any("inv_freq" in name for name in expected)
    return expected, told


def test_an_adapter_on_a_first_stage(tmp_path: Path) -> None:
    """Its first factors are random; the base is in bf16."""
    first = tmp_path / "first"
    fit("sft", first, trainer__callbacks=f"[{SAVE_EACH_STEP}]", trainer__max_steps=1, model__optimization__lr=1e-2)
    adapter = {"model__policy__lora": '{"rank": 4, "alpha": 8}', "model__policy__dtype": "bfloat16"}
    expected, told = check(tmp_path, **adapter, model__init_from=first)
    assert told[-1][1]
    assert {tensor.dtype for tensor in expected.values()} == {torch.float32, torch.bfloat16}
    name = "model.language_model.layers.0.mlp.down_proj"
    untrained = Policy(small_config(), {}).model.get_submodule(name).weight
    assert not torch.equal(expected[f"{name}.base_layer.weight"], untrained.bfloat16())


@pytest.mark.parametrize("stored", ["once", "twice"])
def test_a_base_in_bf16_whose_head_is_its_embedding(tmp_path: Path, stored: str) -> None:
    """Only who reads the weights knows whether a head that is stored, too, is the embedding: so other programs write them."""
    Policy(small_config(tiny=replace(SMALL, spread=0.3)), {}).save(tmp_path / "base")
    file = tmp_path / "base" / "model.safetensors"
    weights = {name: weight.bfloat16() for name, weight in load_file(file).items()}
    embedding = next(weight for name, weight in weights.items() if name.endswith("embed_tokens.weight"))
    head = {"lm_head.weight": embedding.clone()} if stored == "twice" else {}
    save_file({**weights, **head}, file, {"format": "pt"})
    vision = {"model__policy__train_vision": "true" if head else "false"}
    expected, told = check(tmp_path, model__policy__base=tmp_path / "base", **vision)
    assert ("lm_head.weight", True, False) in told
    assert torch.equal(expected["lm_head.weight"], embedding.float())
    assert {trained for name, trained, *_ in told[:-1] if "visual" in name} == {bool(head)}


def test_all_but_the_first_hold_their_shards_and_one_block(tmp_path: Path) -> None:
    sizes = {"hidden": 384, "layers": 10, "vision_hidden": 256, "vision_layers": 4}
    for done in begin(tmp_path, 2, MEASURED, **{f"model__policy__tiny__{name}": size for name, size in sizes.items()}):
        assert done.returncode == 0, done.stderr[-3000:]
    peaks = []
    for rank in range(2):
        peak, whole, block = json.loads((tmp_path / f"{rank}-of-2").read_text())
        print(f"process {rank}: {peak / 2**20:.1f} MiB of {whole / 2**20:.1f}, the largest block {block / 2**20:.1f}")
        peaks.append(peak)
    assert whole <= peaks[0] <= 1.1 * whole + block
    assert peaks[1] <= 1.05 * whole / 2 + block


class Failing(SFTModule):
    """One of the processes fails as it builds."""

    def _build(self, empty: bool) -> None:
        if processes.rank() == int(os.environ["FEA_FAILS"]):
            raise {"known": FEAError, "unknown": KeyError}[os.environ["FEA_KIND"]]("no memory on this node")
        super()._build(empty)


@pytest.mark.parametrize(("rank", "kind"), [(0, "known"), (1, "known"), (0, "unknown")])
def test_what_fails_in_one_fails_in_all(tmp_path: Path, rank: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEA_FAILS", str(rank))
    monkeypatch.setenv("FEA_KIND", kind)
    for number, done in enumerate(begin(tmp_path, 2, BUILT, model="test_shared_build.Failing")):
        assert done.returncode != 0
        assert "no memory on this node" in done.stderr
        assert ("Traceback" in done.stderr) == (kind == "unknown" and number == rank)
