"""Seven criteria on a deepened demo model: what is left of it without a fifth of its layers, before and after equal healing.

python tests/benchmarks/pruning.py RUN OUT [--seeds 0 1 2]      RUN: whole weights, such as runs/demo/seed-0/sft-1 of `fea demo`
python tests/benchmarks/pruning.py none OUT --scratch           as `fea demo` makes its base, with 10 layers from the start

By default layers are put between those of RUN, copies whose last projections are 0, so that they begin as the identity, and the
whole is trained on until they carry something. Each seed has a deep model of its own, other faces to heal on, other edits and
other random layers. The deep model is trained for as many steps as healing takes, too, and is what shares are shares of.

What is finished is kept: the same command goes on. Results of each seed and criterion lie in OUT/seed-N/*.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

from fea.data.example import Example
from fea.demo.board import faces_of
from fea.demo.stages import FULL, Demo
from fea.drawn.faces import write_faces
from fea.drawn.world import WorldSettings
from fea.evaluation.intervals import Tally, differences, judge, scores
from fea.model.cache import Trunk
from fea.model.checkpoints import load_policy
from fea.model.sampling import Generation
from fea.prompts.answer import Answer, parse
from fea.pruning.settings import Criterion
from fea.reports.tables import markdown
from fea.rollouts.rollout import ask
from fea.training.fits import Fits

CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
SHOWN = ("au_f1", "accuracy", "format", "invented")
HELD_OUT, CALIBRATION = 77_000, 78_000  # seeds of faces that no demo draws
TOKENS = 112  # length limit of answers, as in configs/demo.yaml
STAGE = ("--config", "configs/sft.yaml", "--config", "configs/demo.yaml")


class Deep(Demo):
    """A demo whose language model has more layers from the start."""

    layers = 10

    def _shown(self) -> dict[str, Any]:
        return {**super()._shown(), "model.policy.tiny.layers": self.layers}


def deepen(run: str, layers: int, seed: int, out: Path) -> None:
    """Writes a run's model with layers put in evenly, which begin as the identity."""
    torch.manual_seed(seed)
    policy, _ = load_policy(run, "cpu")
    if policy.config.lora:
        raise SystemExit(f"{run} has an adapter; name a run with whole weights, such as sft-1 of `fea demo`")
    model = policy.network.language_model
    old = list(model.layers)
    owner = np.linspace(0, len(old) - 1e-9, layers).astype(
        int
    )  # whose copy each one is; the first of an owner is itself
    found: list[nn.Module] = []
    for place, number in enumerate(owner):
        layer = copy.deepcopy(old[number])
        if place and owner[place - 1] == number:
            for name, weight in layer.named_parameters():
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    nn.init.zeros_(weight)
                elif weight.dim() == 2:  # off the copy, so that it can become something else
                    weight.data += 0.5 * weight.std() * torch.randn_like(weight)
        found.append(layer)
    model.layers = nn.ModuleList(found)
    model.config.num_hidden_layers = layers
    model.config.layer_types = ["full_attention"] * layers
    for place, layer in enumerate(found):
        layer.self_attn.layer_idx = place  # type: ignore[union-attr]
    policy.save(out)


class Bench:
    """What is done for one seed.

    Args:
        arguments: of the command.
        seed: which.
    """

    def __init__(self, arguments: argparse.Namespace, seed: int):
        self.given, self.seed = arguments, seed
        self.out = Path(arguments.out).absolute() / f"seed-{seed}"
        self.fits = Fits(self.out)
        shared = Path(arguments.out).absolute() / "faces"
        self.held = write_faces(shared / f"held-out-{arguments.faces}", arguments.faces, HELD_OUT, "none")
        self.calibration = write_faces(
            shared / f"calibration-{seed}", arguments.calibration, CALIBRATION + seed, "analysis"
        )
        self.examples: list[Example] = faces_of(self.held)

    def fit(self, name: str, base: Path, steps: int, faces: int, lr: float, seed: int) -> Path:
        """Trains all weights of a model on true analyses of drawn faces; the run's folder."""
        settings = {
            "model.policy.base": base,
            "model.optimization.lr": lr,
            "model.optimization.warmup": max(1, steps // 10),
            "data.text": "analysis",
            "data.train_faces": faces,
            "data.seed": seed,
            "data.folder": Path(self.given.out).absolute() / "faces",
            "data.val_faces": 1,
            "seed_everything": seed,
            "trainer.max_steps": steps,
            "trainer.limit_val_batches": 0,
            "trainer.enable_progress_bar": False,
        }
        self.fits.fit(name, STAGE, settings)
        return self.out / name

    def deep(self) -> Path:
        """The deepened model, trained; a folder."""
        start, model = self.out / "start", self.out / "deep-model"
        if model.exists():
            return model
        if self.given.scratch:
            demo = Deep(self.out.parent / "scratch", f"seed-{self.seed}", self.seed, FULL, WorldSettings())
            demo.base()
            start = demo.model
        elif not start.exists():
            deepen(self.given.run, self.given.layers, self.seed, start)
        run = self.fit("deep", start, self.given.deep_steps, self.given.deep_faces, 1e-3, self.seed)
        part = model.with_suffix(".part")
        load_policy(str(run), "cpu")[0].save(part)
        part.rename(model)
        return model

    def healed(self, name: str, model: Path) -> Path:
        """Healed by as many steps on as many faces as every other one."""
        return self.fit(f"{name}-healed", model, self.given.steps, self.given.heal_faces, 5e-4, 1000 + self.seed)

    def said(self, name: str, model: Callable[[], Path]) -> list[list[Answer]]:
        """Greedy answers to the held-out faces, kept as texts; the model is made if there are none."""
        file = self.out / f"answers-{name}-{len(self.examples)}.json"
        if not file.exists():
            policy, trunk, texts = load_policy(str(model()), "cpu")[0], Trunk(), list[str]()
            for start in range(0, len(self.examples), 100):
                prompts = policy.look([policy.encoder(face) for face in self.examples[start : start + 100]])
                texts += ask(policy, prompts, 1, Generation(TOKENS), trunk=trunk).completions.texts
            file.write_text(json.dumps(texts))
        return [[parse(text, e.emotions)] for text, e in zip(json.loads(file.read_text()), self.examples, strict=True)]

    def tally(self, name: str, model: Callable[[], Path]) -> Tally:
        """Counts of its answers."""
        return judge(self.examples, self.said(name, model))

    def pruned(self, criterion: str) -> Path:
        """The deep run without layers, by a criterion; the run, and not its weights alone, says how it is asked."""
        out = self.out / criterion
        if not (out / "pruning.json").exists():
            words = [
                "prune",
                self.out / "deep",
                self.calibration,
                "--layers",
                self.given.gone,
                "--criterion",
                criterion,
                "--out",
                out,
            ]
            more = ["--faces", self.given.calibration, "--seed", self.seed, "--max_tokens", TOKENS, "--device", "cpu"]
            subprocess.run([sys.executable, "-m", "fea", *map(str, [*words, *more])], check=True)
        return out

    def row(self, criterion: str) -> dict[str, Any]:
        """All that is measured of a criterion; where two drop the same layers, what is healed is the same."""
        begun, folder = time.perf_counter(), self.pruned(criterion)
        told = json.loads((folder / "pruning.json").read_text())
        gone = "-".join(map(str, sorted(told["dropped"])))
        before = self.tally(f"without-{gone}", lambda: folder)
        after = self.tally(f"without-{gone}-healed", lambda: self.healed(f"without-{gone}", folder))
        print(f"seed {self.seed}, {criterion}: {time.perf_counter() - begun:.0f} s", flush=True)
        return {"dropped": sorted(told["dropped"]), "told": told, "before": before, "after": after}


def values(tally: Tally) -> dict[str, float]:
    """The scores that are shown."""
    found = scores(tally)
    return {name: float(found[name][0]) for name in SHOWN}


def one_seed(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Everything of a seed: scores by criterion, and PIP against the others, paired over faces."""
    bench = Bench(arguments, seed)
    model = bench.deep()
    whole = bench.tally("deep", lambda: bench.out / "deep")
    longer = bench.tally("deep-healed", lambda: bench.healed("deep", model))
    rows = {criterion: bench.row(criterion) for criterion in arguments.criteria}
    found = {
        "whole": {"before": values(whole), "after": values(longer)},
        **{
            name: {
                "dropped": row["dropped"],
                "before": values(row["before"]),
                "after": values(row["after"]),
                "speed": [row["told"][when]["speed"]["tokens"] for when in ("before", "after")],
                "parameters": row["told"]["after"]["parameters"] / row["told"]["before"]["parameters"],
            }
            for name, row in rows.items()
        },
    }
    if "pip" in rows:
        found["pip against"] = {
            name: {
                score: list(differences(rows["pip"]["after"], row["after"])[score]) for score in ("au_f1", "accuracy")
            }
            for name, row in rows.items()
            if name != "pip"
        }
    (bench.out / "result.json").write_text(json.dumps(found, indent=2))
    return found


def show(results: dict[int, dict[str, Any]], criteria: list[str]) -> None:
    """The table, a mean over seeds, with the AU F1 of each seed; and PIP against the others by seed."""

    def mean(name: str, when: str, score: str) -> float:
        return float(np.mean([found[name][when][score] for found in results.values()]))

    whole = [mean("whole", when, "au_f1") for when in ("before", "after")]
    head = ["criterion", "layers gone", "AU F1", "accuracy", "format", "invented", "AU F1, healed", "accuracy, healed"]
    head += ["format, healed", "invented, healed", "AU F1 kept", "by seed"]
    rows = []
    for name in ("whole", *criteria):
        gone = "; ".join(",".join(map(str, found[name].get("dropped", []))) or "-" for found in results.values())
        cells = [f"{mean(name, when, score):.3f}" for when in ("before", "after") for score in SHOWN]
        kept = [found[name]["after"]["au_f1"] / found["whole"]["after"]["au_f1"] for found in results.values()]
        rows.append(
            [name, gone, *cells, f"{mean(name, 'after', 'au_f1') / whole[1]:.1%}", " ".join(f"{k:.1%}" for k in kept)]
        )
    print("\n" + markdown(head, rows))
    for seed, found in results.items():
        for name, changes in found.get("pip against", {}).items():
            told = ", ".join(f"{score} {m:+.3f} [{low:+.3f}, {high:+.3f}]" for score, (m, low, high) in changes.items())
            print(f"seed {seed}, healed: pip less {name}: {told} (95 %, paired bootstrap over faces)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("out")
    parser.add_argument("--scratch", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--gone", type=int, default=2, help="layers that go: a fifth")
    parser.add_argument("--deep_steps", type=int, default=400)
    parser.add_argument("--deep_faces", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=100, help="of healing, the same for all")
    parser.add_argument("--heal_faces", type=int, default=300)
    parser.add_argument("--calibration", type=int, default=128)
    parser.add_argument("--faces", type=int, default=500, help="held out")
    parser.add_argument("--criteria", nargs="+", default=list(CRITERIA), choices=CRITERIA)
    arguments = parser.parse_args()
    Deep.layers = arguments.layers
    results = {seed: one_seed(arguments, seed) for seed in arguments.seeds}
    show(results, arguments.criteria)


if __name__ == "__main__":
    main()
