"""One million lines: `fea data check`, and the time from `fea fit` to its first step.

pytest -n 0 -m benchmark tests/benchmarks/test_million_lines.py -s
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import fit_arguments

from fea.drawn.faces import write_faces

LINES = 1_000_000
SECONDS, GIB = 60, 2  # what each may take

pytestmark = pytest.mark.benchmark


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A million lines about sixteen images, each with an analysis of 600 characters."""
    folder = tmp_path_factory.mktemp("million")
    lines = [json.loads(line) for line in write_faces(folder, 16).read_text().splitlines()]
    rng = random.Random(0)
    with (folder / "million.jsonl").open("w") as out:
        for number in range(LINES):
            line = {**lines[number % 16], "id": str(number), "dataset": rng.choice(("DISFA", "mine"))}
            line["description"] = line["description"].replace("</think>", " " + "x" * 500 + "</think>")
            out.write(json.dumps(line) + "\n")
    return folder / "million.jsonl"


def measured(arguments: list[str], cache: Path) -> tuple[int, float, float]:
    """Exit status, seconds and peak memory in GiB of a command and its children."""
    environment = {**os.environ, "HF_DATASETS_CACHE": str(cache)}
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "fea", *arguments], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    return os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_maxrss / 2**20


@pytest.mark.parametrize("command", ["data check", "fit, first time", "fit, again"])
def test_a_million_lines(million: Path, tmp_path_factory: pytest.TempPathFactory, command: str) -> None:
    folder = million.parent
    fit = fit_arguments("grpo", folder / "run", data="FEADataModule", data__train=f"[{million}]", trainer__max_steps=1)
    fit = [argument for argument in fit if not argument.startswith(("--data.val", "--data.folder", "--data.text"))]
    arguments = ["data", "check", str(million)] if command == "data check" else fit
    status, seconds, memory = measured(arguments, folder / "cache")
    print(f"\n{command}: {seconds:.1f} s, {memory:.2f} GiB")
    assert status == 0
    assert seconds < SECONDS
    assert memory < GIB
