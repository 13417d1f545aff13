"""Does an adapter on the vision tower help to perceive? LoRA on the language model alone, and on the tower as well.

python tests/benchmarks/tower_adapter.py BASE OUT [--seeds 0 1 2] [--faces 1500]

BASE is the base of `fea demo`, such as runs/demo/base/model. In stage 1 an arm adapts that base, with twice the steps of the
demo and three times the rate, which adapters need to learn the form of an answer; what they sample is noise by then. So in
stage 2 an arm adapts the result of the demo's own stage 1, at twice the rate. Only `policy.lora` differs between the arms. What
is finished is kept: the same command goes on. Greedy answers about the same held-out faces; intervals are of the paired
bootstrap over faces.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fea.data.example import Example
from fea.demo.board import Said, answered, faces_of
from fea.demo.stages import FULL, Demo
from fea.drawn.world import WorldSettings
from fea.evaluation.intervals import Tally, differences, judge, scores
from fea.model.checkpoints import load_policy
from fea.reports.tables import aligned

TEXT = "{rank: 16, alpha: 32}"
ARMS = {"language": TEXT, "and tower": "{rank: 16, alpha: 32, vision: {rank: 8}}"}
# Of the rates 1e-3, 3e-3 and 1e-2 the second had the highest score in the validation of stage 1.
STAGES = {
    "sft": {"model.optimization.lr": 3e-3, "trainer.max_steps": 640, "trainer.val_check_interval": 160},
    "grpo": {"model.optimization.lr": 6e-4},
}
SHOWN = ("au_f1", "au_micro_f1", "accuracy", "emotion_f1", "invented")


def demo(base: Path, out: Path, seed: int, name: str) -> Demo:
    """The demo of a folder of runs, on the base."""
    (out / "base").mkdir(parents=True, exist_ok=True)
    if not (out / "base" / "model").exists():
        (out / "base" / "model").symlink_to(base.resolve())
    return Demo(out, f"{name.replace(' ', '-')}-{seed}", seed, FULL, WorldSettings())


def fitted(demo: Demo, stage: str, settings: Mapping[str, Any]) -> Path:
    """The folder of a stage, with other settings than the demo's."""
    words = [word for file in demo.loop.stages[stage].configs for word in ("--config", file)]
    demo.loop.fit(stage, words, {**demo.loop.stages[stage].settings, **settings})
    return demo.loop.out / stage


def taught(base: Path, out: Path, seed: int) -> Path:
    """The result of the demo's own stage 1, as a base."""
    whole = demo(base, out, seed, "whole")
    folder = whole.loop.out / "model"
    run = fitted(whole, "sft", {})
    if not folder.exists():
        load_policy(str(run), "cpu")[0].save(folder)
    return folder


def runs(base: Path, out: Path, seed: int, arm: str) -> dict[str, Path]:
    """The folders of both stages of an arm, by their title."""
    adapted = {"model.policy.lora": ARMS[arm]}
    second = {"model.policy.base": taught(base, out, seed)}  # and no other run to start from, as `demo.yaml` has it
    own = demo(base, out, seed, arm)
    return {
        "grpo": fitted(own, "grpo", {**STAGES["grpo"], **adapted, **second}),
        "sft": fitted(own, "sft", {**STAGES["sft"], **adapted}),
    }


def said(run: Path, faces: Sequence[Example]) -> Said:
    """A greedy answer to each face, kept beside the run."""
    file = run / f"greedy-{len(faces)}.pkl"
    if not file.exists():
        file.write_bytes(pickle.dumps(answered(run, faces)[0]))
    found: Said = pickle.loads(file.read_bytes())
    return found


def main() -> None:
    """Trains, asks and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--faces", type=int, default=1500)
    asked = parser.parse_args()
    out = asked.out.absolute()
    faces = faces_of(
        Demo(out, "held-out", 0, FULL._replace(held_out=asked.faces), WorldSettings()).faces().draw("test")
    )
    rows, told = [], list[str]()
    for seed in asked.seeds:
        tallies: dict[tuple[str, str], Tally] = {}
        for arm in ARMS:
            for stage, run in runs(asked.base, out, seed, arm).items():
                tallies[arm, stage] = tally = judge(faces, said(run, faces))
                values = scores(tally)
                rows.append([arm, stage, str(seed), *(f"{float(values[name][0]):.3f}" for name in SHOWN)])
        for stage in ("sft", "grpo"):
            changes = differences(tallies["and tower", stage], tallies["language", stage])
            shown = ", ".join(
                f"{n} {changes[n].mean:+.3f} [{changes[n].low:+.3f}, {changes[n].high:+.3f}]" for n in SHOWN
            )
            told.append(f"seed {seed}, {stage}, with the tower less without: {shown}")
    print(aligned(["adapter on", "stage", "seed", *SHOWN], rows), *told, sep="\n")


if __name__ == "__main__":
    main()
