"""What has to be tried on a card is found, skipped without one, and has its table among the results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gpu.checks import EXPECTED, table

TESTS = Path(__file__).parents[1]
CHECKS = sorted((TESTS / "gpu").glob("test_*.py"))


def test_without_a_card_all_is_skipped_and_the_table_says_so() -> None:
    own = {name: value for name, value in os.environ.items() if name != "FEA_GPU_REHEARSAL"}
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "tests/gpu"]
    done = subprocess.run(
        words, cwd=TESTS.parent, env={**own, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert [line for line in said if line.startswith("|")] == table({})
    reasons = [line for line in said if line.startswith("SKIPPED")]
    assert reasons
    assert all(line.endswith("no CUDA device") for line in reasons)
    assert {file.name for file in CHECKS} == {line.split("/")[-1].partition(":")[0] for line in reasons}
    assert "passed" not in said[-1]
    assert "bringing up nodes" not in done.stdout  # in one process


def test_every_check_has_its_line_among_the_results() -> None:
    results = (TESTS / "benchmarks" / "RESULTS.md").read_text().partition("\n## On a GPU\n")[2]
    lines = [line.strip("| ").split(" | ")[0] for line in results.splitlines() if line.startswith("| ")]
    assert lines[2:] == list(EXPECTED)


def test_every_check_says_how_it_is_run() -> None:
    told = (TESTS / "gpu" / "__init__.py").read_text()
    for file in CHECKS:
        text = file.read_text()
        assert f"pytest -m gpu tests/gpu/{file.name}" in text
        assert "\npytestmark = pytest.mark.gpu\n" in text
        assert f"    {file.stem} " in told
