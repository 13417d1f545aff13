"""A fit that takes what is planned for it, in each of its processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conftest import fit_arguments
from processes import ended, start_together

MEASURING = {"class_path": "measuring.Measured"}
LORA = {"model__policy__lora": '{"rank": 8, "alpha": 16}'}
BF16 = {**LORA, "model__policy__dtype": "bfloat16", "trainer__precision": "bf16-mixed"}


def check(folder: Path, stage: str = "grpo", processes: int = 1, timeout: float = 300, **settings: Any) -> set[str]:
    """Holds that a fit takes what is planned, in each of its processes; returns the phases that take most.

    Args:
        folder: that is written to.
        stage: "sft" or "grpo".
        processes: that fit together.
        timeout: seconds after which they are given up.
        settings: of the fit, with `__` for the dot.
    """
    judged = [{"class_path": "test_grpo.Vowels"}] if stage == "grpo" else []
    common = {
        "model__generation__max_tokens": 16, "data__batch_size": 4, "data__eval_batch_size": 8, "data__val_faces": 8,
        "trainer__accumulate_grad_batches": 2, "trainer__max_steps": 2, "trainer__limit_val_batches": 1,
        "trainer__val_check_interval": 4, "trainer__callbacks": json.dumps([*judged, MEASURING]),
    }  # fmt: skip
    words = fit_arguments(stage, folder / "run", **{**common, **settings}, trainer__devices=processes)
    for process in start_together(words, processes, FEA_MEASURED=str(folder)):
        done = ended(process, timeout)
        assert done.returncode == 0, done.stderr[-2000:]
    most = set()
    for rank in range(processes):
        told = json.loads((folder / f"rank{rank}.json").read_text())
        for phase, planned in told["planned"].items():
            print(
                f"{phase} of process {rank}: planned {planned / 2**20:.1f} MiB, measured {told['measured'][phase] / 2**20:.1f}"
            )
        peaks = max(told["planned"].values()), max(told["measured"].values())
        print(f"process {rank}: {peaks[0] / peaks[1]:.3f}")
        assert abs(peaks[0] / peaks[1] - 1) < 0.1
        most.add(max(told["measured"], key=told["measured"].__getitem__))
    return most


def alike(file: Path, faces_file: Path) -> dict[str, str]:
    """Settings of data whose analyses are all as long as the longest.

    Args:
        file: to be written.
        faces_file: of faces with analyses.
    """
    records = [json.loads(line) for line in faces_file.read_text().splitlines()]
    longest = max((record["description"] for record in records), key=len)
    file.write_text("".join(json.dumps({**record, "description": longest}) + "\n" for record in records))
    source = json.dumps([{"file": str(file), "image_root": str(faces_file.parent)}])
    return {"data__train": source, "data__train_faces": "1", "data__text": "none"}
