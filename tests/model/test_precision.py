"""A run computes in one of two precisions, and is refused in any other, or on a GPU that cannot, before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from conftest import fit, fit_arguments, small_config

from fea.cli import main
from fea.errors import FEAError
from fea.model import checkpoints
from fea.model.precision import check, computing
from fea.sft import SFTModule

REFUSED = {
    "16-mixed": "overflow in fp16", "16": "overflow in fp16", 16: "overflow in fp16", "16-true": "overflow in fp16",
    "bf16-true": "rounds small steps away", "64-true": "which do not mix with 64", "64": "which do not mix with 64",
    "transformer-engine": "neither an adapter nor 4 bits", "transformer-engine-float16": "neither an adapter nor 4 bits",
    "8-sometimes": "nobody has tried it",
}  # fmt: skip
CARD = torch.device("cuda", 0)


@pytest.fixture
def old_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that computes in bf16 only as if it could."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"Tesla T4 {device.index or 0}")


@pytest.mark.parametrize("precision", REFUSED)
def test_a_precision_that_breaks_is_refused_with_the_reason(precision: object) -> None:
    told = (
        rf"trainer.precision: '{precision}' cannot be used \(.*{REFUSED[precision]}\); set it to bf16-mixed or 32-true"
    )
    with pytest.raises(FEAError, match=told):
        check(precision)


@pytest.mark.parametrize("precision", [None, 32, "32", "32-true", "bf16", "bf16-mixed"])
def test_the_two_that_work_are_accepted_by_all_their_names(precision: object) -> None:
    check(precision, torch.device("cpu"))


@pytest.mark.usefixtures("old_card")
def test_a_gpu_without_bf16_is_refused() -> None:
    check("32-true", CARD)
    check("bf16-mixed", torch.device("cpu"))
    with pytest.raises(FEAError, match="but Tesla T4 0 does not compute in bf16; set it to 32-true, and"):
        check("bf16-mixed", CARD)


@pytest.mark.usefixtures("old_card")
def test_a_run_in_bf16_is_not_asked_on_such_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    told = checkpoints.Stored(small_config(), ("fear",), frozenset(), "SFTModule", precision="bf16-mixed")
    monkeypatch.setattr("fea.model.checkpoints.stored", lambda run: told)
    for device in ("auto", "cuda"):
        with pytest.raises(
            FEAError, match="device: 'runs/sft' computes in bf16, which Tesla T4 0 does not; choose cpu"
        ):
            checkpoints.load_policy("runs/sft", device)  # type: ignore[arg-type]


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
@pytest.mark.parametrize("precision", ["bf16-true", "transformer-engine"])
def test_every_command_of_the_trainer_refuses_it_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, precision: str
) -> None:
    words = fit_arguments("sft", tmp_path / "run", trainer__precision=precision)
    assert main([command, *words[1:]]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"fea: error: trainer.precision: '{precision}' cannot be used (")
    assert not list(tmp_path.iterdir())


def test_a_plugin_is_refused_as_the_setting_is(tmp_path: Path) -> None:
    plugin = '[{"class_path": "lightning.pytorch.plugins.HalfPrecision", "init_args": {"precision": "bf16-true"}}]'
    with pytest.raises(FEAError, match=r"trainer\.precision: 'bf16-true' cannot be used"):
        fit("sft", tmp_path / "run", trainer__plugins=plugin, trainer__precision="null")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("old_card")
def test_a_gpu_is_looked_at_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.pytorch.strategies.SingleDeviceStrategy.root_device", CARD)
    with pytest.raises(FEAError, match=r"trainer\.precision: bf16-mixed, but Tesla T4 0"):
        fit("sft", tmp_path / "run", trainer__precision="bf16-mixed")
    assert not list(tmp_path.iterdir())


def test_a_trainer_that_is_made_in_python_is_looked_at_too(tmp_path: Path) -> None:
    trainer: Any = L.Trainer(accelerator="cpu", precision="bf16-true", logger=False, default_root_dir=tmp_path)
    module = SFTModule(small_config())
    module.trainer = trainer
    with pytest.raises(FEAError, match="'bf16-true' cannot be used"):
        module.setup("fit")


def test_within_it_numbers_are_those_of_the_trainer() -> None:
    trainer = L.Trainer(accelerator="cpu", precision="bf16-mixed", logger=False, enable_checkpointing=False)
    factor = torch.randn(8, 8)
    with trainer.precision_plugin.forward_context():
        expected = factor @ factor
    with computing("bf16-mixed", torch.device("cpu")):
        assert torch.equal(factor @ factor, expected)
    with computing("32-true", torch.device("cpu")):
        assert (factor @ factor).dtype == torch.float32
