"""The memory of a GPU grows in pieces, unless the user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fea.system.allocator import expand_segments

NAMES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that whatever is set is taken away at the end
        monkeypatch.delenv(name)
    monkeypatch.setattr("sys.platform", "linux")


def settings() -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


@pytest.mark.parametrize(
    ("torch", "name"), [("2.8.0+cu128", NAMES[0]), ("2.9.1", NAMES[1]), ("2.13.0+cpu", NAMES[1]), ("3.0", NAMES[1])]
)
def test_each_torch_is_told_under_the_name_that_it_reads(
    monkeypatch: pytest.MonkeyPatch, torch: str, name: str
) -> None:
    monkeypatch.setattr("fea.system.allocator.version", lambda _: torch)
    expand_segments()
    assert settings() == {name: "expandable_segments:True"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("own", ["max_split_size_mb:128", ""])
def test_settings_of_the_user_stay_alone(monkeypatch: pytest.MonkeyPatch, name: str, own: str) -> None:
    monkeypatch.setenv(name, own)
    expand_segments()
    assert settings() == {name: own}


def test_where_torch_cannot_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    expand_segments()
    assert settings() == {}


def test_it_is_set_before_torch_is_loaded() -> None:
    """By the module that all trainer commands go through."""
    script = (
        "import sys, os, importlib.abc\n"
        "class Look(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torch': print([n for n in os.environ if n.endswith('ALLOC_CONF')]); raise SystemExit\n"
        "sys.meta_path.insert(0, Look())\n"
        "from fea.cli import main; main(['fit', '--print_config'])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "PYTORCH" in said
