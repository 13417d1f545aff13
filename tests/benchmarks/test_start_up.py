"""Seconds until a command answers: help, a mistake in a config, a version.

pytest -n 0 -m benchmark tests/benchmarks/test_start_up.py -s
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

import pytest

from fea.cli import COMMANDS

RUNS = 7
HELPS = ["--help", "data --help", *(f"{name} --help" for name in COMMANDS)]
OTHERS = ["--version", "fit --trainer.help", "data check nowhere.jsonl", "fit --config nowhere.yaml"]

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize("command", HELPS + OTHERS)
def test_start_up(command: str) -> None:
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "fea", *command.split()], capture_output=True, check=False)
        seconds.append(time.perf_counter() - start)
    print(f"\n| `fea {command}` | {median(seconds):.2f} |")
