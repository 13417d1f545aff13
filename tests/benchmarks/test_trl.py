"""One GRPO step on a CPU: TRL's `GRPOTrainer` against fea, with the same model, prompts, lengths and optimizer.

pytest -n 0 -m benchmark tests/benchmarks/test_trl.py -s               (all cases; -k P1000-C128-G8-9M-tree-8-8 for the center)

Each case is added to the table beside the path in FEA_BENCH_OUT, as JSON and Markdown; without it, to one among pytest's
temporary files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpo_step
import pytest
import torch
from grpo_case import MEASURED, WARM_UP, Case, Clock, examples, prepare
from grpo_step import fea_policy, trl_trainer

pytest.importorskip("trl")
pytestmark = pytest.mark.benchmark

CASES = [
    Case(),
    *(Case(prompt=length) for length in (250, 500, 2000)),
    *(Case(completion=length) for length in (64, 256)),
    *(Case(group=size) for size in (4, 16)),
    Case(size="30M"),
    Case(layout="rows"),  # what is left without the shared prompt
    Case(at_once=1),  # TRL in little memory
    *(Case(at_once=1, microbatches=parts) for parts in (4, 8)),  # both
]
PARTS = ("rollout", "reference", "update", "whole")


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table's path, without suffix."""
    return Path(os.environ.get("FEA_BENCH_OUT") or tmp_path_factory.getbasetemp() / "trl")


def test_both_sides_see_the_same(tmp_path: Path) -> None:
    """Same prompt ids, and the same log-probabilities for the same completions."""
    case = Case(prompt=250, completion=16, group=4)
    prepare(case, tmp_path)
    trainer, policy = trl_trainer(case, tmp_path, Clock()), fea_policy(case, tmp_path).eval()
    # TRL leaves tokens in the distribution that fea takes out.
    policy.network._forbidden = torch.empty(0, dtype=torch.long)
    for number, row in enumerate(examples(tmp_path)[:2]):
        batch = trainer._generate_and_score_completions([trainer.train_dataset[number]] * case.group)
        prompt = policy.encoder(row)
        assert batch["prompt_ids"].tolist() == [prompt.ids.tolist()] * case.group
        assert batch["completion_mask"].sum() == case.group * case.completion
        with torch.no_grad():
            logps = policy.logps([prompt], batch["completion_ids"], batch["completion_mask"].long())[0]
        gap = (logps - batch["ref_per_token_logps"]).abs().max()
        print(f"\nlargest difference of log-probabilities, of {logps.numel()}: {gap:.1e}")
        assert gap < 1e-4


@pytest.mark.parametrize("case", CASES, ids=str)
def test_step(case: Case, tmp_path: Path, out: Path) -> None:
    prepare(case, tmp_path)
    trl, fea = (measured(side, case, tmp_path) for side in ("trl", "fea"))
    prompts = trl.pop("prompts")
    assert prompts == fea.pop("prompts")
    assert trl["tokens"] == fea["tokens"] == [case.group * case.completion] * (WARM_UP + MEASURED)
    assert (trl["parameters"], trl["trained"]) == (fea["parameters"], fea["trained"])
    row = {"case": asdict(case), "prompt": len(prompts[0]), "trl": trl, "fea": fea}
    write(out, row)
    print(f"\n{machine()}\n\n{table([row])}\n\n{settings(row)}")


def measured(side: str, case: Case, folder: Path) -> dict[str, Any]:
    """Runs one side in a process of its own."""
    command = [sys.executable, grpo_step.__file__, side, json.dumps(asdict(case)), str(folder)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def write(out: Path, row: dict[str, Any]) -> None:
    """Adds a case to the table, or replaces it."""
    file = out.with_suffix(".json")
    known = json.loads(file.read_text()) if file.exists() else []
    rows = [old for old in known if old["case"] != row["case"]] + [row]
    file.write_text(json.dumps(rows, indent=1))
    out.with_suffix(".md").write_text(f"{machine()}\n\n{table(rows)}\n\n{settings(row)}\n")


def machine() -> str:
    """What it ran on, and when."""
    model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    packages = [f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "fea")]
    parts = [time.strftime("%Y-%m-%d"), model.split(": ")[1], f"{os.cpu_count()} cores", *packages]
    return ", ".join(parts)


def table(rows: list[dict[str, Any]]) -> str:
    """Seconds and MiB as `TRL / fea (ratio)`."""
    lines = [
        f"TRL / fea (ratio), medians of {MEASURED} steps after {WARM_UP} to warm up. Rows: completions that each trains on "
        "at a time, layout of fea. Seconds; MiB at the peak, and before the first step; processor cores in use, less than "
        "there are where others worked too.\n",
        "| P | C | G | parameters | rows | token ratio | rollout | reference | update | whole | peak | before | cores |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        case, trl, fea = Case(**row["case"]), row["trl"], row["fea"]
        p, c, g = row["prompt"], case.completion, case.group
        tokens = g * (p + c) / (p + g * c)
        cells = [str(p), str(c), str(g), f"{trl['parameters'] / 1e6:.1f} M"]
        cells += [f"{case.at_once or g} / {g // case.microbatches}, {case.layout}", f"{tokens:.2f}"]
        cells += [pair(trl["seconds"][part], fea["seconds"][part], 2) for part in PARTS]
        cells += [pair(trl["peak_mib"], fea["peak_mib"], 0), f"{trl['built_mib']:.0f} / {fea['built_mib']:.0f}"]
        cells += [f"{trl['cores']:.2f} / {fea['cores']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def pair(trl: float, fea: float, digits: int) -> str:
    """Both and their ratio."""
    return f"{trl:.{digits}f} / {fea:.{digits}f} ({trl / fea:.1f})"


def settings(row: dict[str, Any]) -> str:
    """How both sides were set up."""
    return "\n".join(
        f"{side}: " + ", ".join(f"{name} {value}" for name, value in row[side]["settings"].items())
        for side in ("trl", "fea")
    )
