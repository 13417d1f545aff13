"""What is installed, what it is called, and that every setting is explained."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import docstring_parser
import pytest
from lightning.pytorch.callbacks import Callback

import fea.callbacks
from fea.data.module import FEADataModule
from fea.data.source import Source
from fea.demo.tower import TowerModule
from fea.drawn.module import RenderedFaces
from fea.grpo import GRPOModule
from fea.model.config import LoRA, Numbered, PolicyConfig, TinySize, VisionLoRA
from fea.model.sampling import Generation
from fea.pairs.recipe import PairRecipe
from fea.preference import EMPOModule
from fea.sft import SFTModule
from fea.synthesis.recipe import Checks, Recipe
from fea.training.objective import Objective
from fea.training.optimization import Optimization
from fea.training.preferring import Preference

ROOT = Path(__file__).parents[2]

CALLBACKS: dict[type, int] = {
    fea.callbacks.AUReward: 7,
    fea.callbacks.Consistency: 0,
    fea.callbacks.ConsistencyReward: 4,
    fea.callbacks.EmotionReward: 6,
    fea.callbacks.FormatReward: 4,
    fea.callbacks.JudgeReward: 11,
    fea.callbacks.MacroF1Reward: 5,
    fea.callbacks.DimensionReward: 6,
    fea.callbacks.IntensityReward: 4,
    fea.callbacks.CCCReward: 5,
    fea.callbacks.CRPSReward: 4,
    fea.callbacks.OverlongPenalty: 4,
    fea.callbacks.RewardGap: 0,
    fea.callbacks.SampleTable: 2,
    fea.callbacks.AnswerWriter: 1,
    fea.callbacks.SelfCheck: 1,
    fea.callbacks.Synthesis: 8,
    fea.callbacks.Watch: 7,
}
MOST = 16  # settings of a class; one more than a signature on a screen holds was worth it for folds of people
# How many settings each class has: a new one is a decision, not an accident.
KNOBS: dict[type, int] = {
    SFTModule: 4,
    GRPOModule: 12,
    Objective: 15,
    EMPOModule: 5,
    Preference: 8,
    PairRecipe: 8,
    TowerModule: 4,
    FEADataModule: 16,
    RenderedFaces: 16,
    Source: 6,
    PolicyConfig: 16,
    LoRA: 5,
    VisionLoRA: 2,
    Numbered: 2,
    TinySize: 8,
    Generation: 2,
    Optimization: 6,
    Recipe: 9,
    Checks: 7,
    **CALLBACKS,
}


@pytest.mark.parametrize(("kind", "count"), KNOBS.items(), ids=lambda value: getattr(value, "__name__", None))
def test_the_number_of_settings_is_pinned_and_small(kind: type, count: int) -> None:
    assert len(inspect.signature(kind).parameters) == count <= MOST


@pytest.mark.parametrize("kind", KNOBS, ids=lambda kind: kind.__name__)
def test_every_setting_is_explained(kind: type) -> None:
    explained = next(k for k in kind.__mro__ if "__init__" in vars(k))  # a reward may keep the settings of its base
    told = docstring_parser.parse(inspect.getdoc(explained) or "")
    assert [entry.arg_name for entry in told.params] == list(inspect.signature(kind).parameters)
    assert all(entry.description for entry in told.params)
    assert docstring_parser.parse(inspect.getdoc(kind) or "").short_description


def test_every_shipped_callback_is_offered() -> None:
    offered = [getattr(fea.callbacks, name) for name in fea.callbacks.__all__]
    assert set(offered) == set(CALLBACKS)
    assert all(issubclass(kind, Callback) for kind in offered)
    assert fea.callbacks.__all__ == sorted(fea.callbacks.__all__)


def test_callbacks_have_one_name_only() -> None:
    """The same file under two names would give two classes, and `isinstance` would fail without a word."""
    tried = subprocess.run([sys.executable, "-c", "import callbacks"], cwd=ROOT, capture_output=True, text=True)
    assert tried.stderr.splitlines()[-1] == "ImportError: import this package as fea.callbacks, not as callbacks"


def test_no_two_files_of_tests_have_one_name() -> None:
    """Of folders that are no packages only one of the two could be imported."""
    files = [file for file in (ROOT / "tests").rglob("*.py") if not (file.parent / "__init__.py").exists()]
    names = Counter(file.name for file in files)
    assert len(files) > 100
    assert [name for name, count in names.items() if count > 1] == []


def test_the_wheel_holds_the_package_and_nothing_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77", "building the wheel needs setuptools 77 or newer")
    for name in ("fea", "callbacks", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    code = "from setuptools.build_meta import build_wheel; build_wheel('out')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    (wheel,) = (tmp_path / "out").glob("fea-*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [file for pattern in ("*.py", "py.typed", "*.jinja", "static/*") for file in (ROOT / "fea").rglob(pattern)]
    expected = {str(file.relative_to(ROOT)) for file in files}
    expected |= {f"fea/callbacks/{file.name}" for file in (ROOT / "callbacks").glob("*.py")}
    configs = ROOT / "configs"
    expected |= {f"fea/configs/{file.relative_to(configs).as_posix()}" for file in configs.rglob("*.yaml")}
    assert held == expected
