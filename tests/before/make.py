"""Made what lies in this folder, at commit b6a36d7: files that today's code has to read and to go on with.

    git checkout b6a36d7 && python make.py OUT

A run of stage 1 with a synthesis between its epochs, a run of stage 2 that starts from it, and a review of what it wrote. The
models are as small as they get (one layer, an adapter of rank 1, random weights), so a checkpoint has fifty kilobytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

TESTS = Path(__file__).parents[1]
KEPT = (
    "step3.ckpt",
    "last.ckpt",
    ".yaml",
    ".tried",
    "round-1.jsonl",
    "round-2.jsonl",
    "anna.jsonl",
    "ben.jsonl",
    ".md",
)
SAVE = {
    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
    "init_args": {
        "filename": "step{step}", "every_n_train_steps": 1, "save_top_k": -1, "auto_insert_metric_name": False,
        "save_last": True,
    },
}  # fmt: skip
ACCEPTING = {
    "class_path": "accepting.Accepting",
    "init_args": {"recipe": {"attempts": 2, "samples": 1}, "batch_size": 4},
}
REWARD, VOWELS = {"class_path": "fea.callbacks.FormatReward"}, {"class_path": "test_grpo.Vowels"}
COMMON = {
    "seed_everything": 0,
    "model": {
        "init_args": {
            "policy": {
                "tiny": {"hidden": 32, "layers": 1, "heads": 2, "vision_hidden": 16, "vision_layers": 1},
                "lora": {"rank": 1, "alpha": 2},
            },
            "generation": {"max_tokens": 6},
            "optimization": {"lr": 0.01, "warmup": 0, "decay": "constant"},
        }
    },
    "data": {
        "init_args": {
            "folder": "faces", "train_faces": 8, "val_faces": 2, "text": "analysis", "batch_size": 4,
            "train": ["bare/faces.jsonl"],
        }
    },
    "trainer": {
        "limit_val_batches": 0, "enable_progress_bar": False, "enable_model_summary": False,
        "reload_dataloaders_every_n_epochs": 1, "max_steps": -1, "logger": {"init_args": {"save_dir": "."}},
    },
}  # fmt: skip
STAGES = {
    "sft": {"trainer.max_epochs": 2, "trainer.callbacks": [REWARD, ACCEPTING, SAVE]},
    "grpo": {
        "trainer.max_epochs": 1, "trainer.max_steps": 6, "trainer.accumulate_grad_batches": 2, "model.mu": 2,
        "model.group_size": 3,
        "trainer.callbacks": [VOWELS, SAVE], "model.init_from": "sft", "model.beta": 0.1, "trainer.val_check_interval": 2,
        "trainer.limit_val_batches": 1, "trainer.check_val_every_n_epoch": "null",
    },
}  # fmt: skip


def fea(*words: str) -> None:
    """Runs a command of fea in the working directory."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, "-m", "fea", *words], check=True, env={**environment, "OMP_NUM_THREADS": "1"})


def arguments(stage: str) -> list[str]:
    """Those of a fit whose run is kept here."""
    options = {**STAGES[stage], "trainer.logger.init_args.name": stage}
    words = [f"--{name}={json.dumps(value) if isinstance(value, list) else value}" for name, value in options.items()]
    return ["fit", "--config", f"{stage}.yaml", "--config", "demo.yaml", "--config", "common.yaml", *words]


def main(out: Path) -> None:
    """Writes everything below a folder."""
    out.mkdir(parents=True)
    for name in ("sft", "grpo", "demo"):
        (out / f"{name}.yaml").write_bytes((TESTS.parent / "configs" / f"{name}.yaml").read_bytes())
    os.chdir(out)
    Path("common.yaml").write_text(json.dumps(COMMON, indent=1) + "\n")
    fea("data", "faces", "bare", "--n", "12", "--seed", "3", "--text", "none")
    fea(*arguments("sft"))
    fea(*arguments("grpo"))
    review(Path("sft/synthesis/round-1.jsonl"))
    for file in Path().rglob("*"):
        if file.is_file() and not file.name.endswith(KEPT):
            file.unlink()
    for file in Path().rglob("*.ckpt"):  # no path of the machine they were made on
        checkpoint = torch.load(file, weights_only=True)
        checkpoint["fea"]["init_from"] = checkpoint["fea"]["init_from"] and "sft"
        torch.save(checkpoint, file)


def review(file: Path) -> None:
    """Two reviewers decide about the first three lines."""
    from fea.decisions import Decision, OwnLog, key_of

    lines = [json.loads(line) for line in file.read_text().splitlines()][:3]
    for reviewer, verdicts in {"anna": ("accept", "reject", "skip"), "ben": ("accept", "accept", "undo")}.items():
        log = OwnLog(file.with_name(f"{file.name}.reviews") / f"{reviewer}.jsonl")
        for line, verdict in zip(lines, verdicts, strict=True):
            if verdict == "undo":
                log.undo({key_of(entry) for entry in lines})
            else:
                log.add(Decision(key_of(line), verdict, "other" if verdict == "reject" else "", ""))
        log.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
