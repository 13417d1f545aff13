"""What all tests share: a cache of their own, a few drawn faces, and tiny policies."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may need a network
# Of torch; in all processes as many, since sums depend on it. What is computed here is too small for more.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch.distributed as dist
from processes import TEST_PATH as TEST_PATH

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.data.table import open_jsonl
from fea.drawn.faces import EMOTIONS, write_faces
from fea.model.config import PolicyConfig, TinySize
from fea.model.policy import Policy
from fea.records.record import Rules

TESTS = Path(__file__).parent
CONFIGS = TESTS.parent / "configs"
SMALL = TinySize(hidden=64, layers=2, heads=4, vision_hidden=64, vision_layers=2)
FACE_PIXELS = 112 * 112  # 16 visual tokens
# A callback of the trainer that keeps every optimizer step.
SAVE_EACH_STEP = (
    '{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"filename": "step{step}", '
    '"every_n_train_steps": 1, "save_top_k": -1, "auto_insert_metric_name": false, "save_last": true}}'
)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Checks on a card run one after the other: what is measured there must not share it."""
    if config.option.markexpr == "gpu":
        config.option.numprocesses = 0


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No arguments of pytest, no shared cache, no process group left over."""
    monkeypatch.setattr("sys.argv", ["fea"])
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "cache")
    yield
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def by_itself(factory: pytest.TempPathFactory) -> Iterator[None]:
    """As `_alone`, on the CPU, for what fixtures of a module or of a session train: they are made before it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["fea"])
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", factory.getbasetemp() / "cache")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield


@pytest.fixture(scope="session")
def faces_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 drawn faces with true analyses."""
    return write_faces(tmp_path_factory.mktemp("faces"), 24, seed=5, text="analysis")


@pytest.fixture
def examples(faces_file: Path) -> list[Example]:
    """The examples of these faces."""
    table = open_jsonl(faces_file, faces_file.parent, Rules(EMOTIONS, "raise", True), "raise")
    return [table[number] for number in range(len(table))]


def small_config(**changes: object) -> PolicyConfig:
    """A policy of 0.3 M parameters that reads the faces at their own size."""
    settings = {"tiny": replace(SMALL), "min_pixels": FACE_PIXELS, "max_pixels": FACE_PIXELS, "knowledge": "brief"}
    return PolicyConfig(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture
def make_policy() -> Callable[..., Policy]:
    """Builds a small policy in eval mode; keyword arguments change its `PolicyConfig`."""
    return lambda **changes: Policy(small_config(**changes), {}).eval()


@pytest.fixture
def prompts(make_policy: Callable[..., Policy], examples: list[Example]) -> list[Prompt]:
    """Prompts of the first four faces; all small policies encode alike."""
    encoder = make_policy().encoder
    return [encoder(example) for example in examples[:4]]


def fit_arguments(config: str, out: Path, **settings: object) -> list[str]:
    """`fea fit` with a shipped config, the demo overlay and a small policy, on a few drawn faces and with short completions.

    Args:
        config: "sft" or "grpo".
        out: folder of the run.
        settings: further options, with `__` for the dot; True for a flag.
    """
    options = {
        **{f"model.policy.tiny.{name}": value for name, value in vars(SMALL).items()},
        "model.generation.max_tokens": 12,
        "data.folder": out.parent / "faces",
        "data.train_faces": 32,
        "data.val_faces": 4,
        "data.text": "analysis",
        "data.batch_size": 4,
        "data.num_workers": 0,
        "trainer.max_steps": 4,
        "trainer.limit_val_batches": 0,
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
        "trainer.logger.init_args.save_dir": out.parent,
        "trainer.logger.init_args.name": out.name,
    } | {key.replace("__", "."): value for key, value in settings.items()}
    files = [word for name in (config, "demo") for word in ("--config", str(CONFIGS / f"{name}.yaml"))]
    if "model" in options:  # its own settings come after it
        files.append(f"--model={options.pop('model')}")
    return ["fit", *files, *(f"--{key}" if value is True else f"--{key}={value}" for key, value in options.items())]


def fit(config: str, out: Path, **settings: object) -> Any:
    """Runs it in this process; returns the LightningCLI, with its `model` and `trainer`."""
    from fea.commands.fit import run

    return run(fit_arguments(config, out, **settings))
