"""Does it help to prefer, in units of a face, in images and in questions? EMPO beside DPO and mDPO, at equal pairs and steps.

    python tests/benchmarks/empo.py DEMO OUT --seeds 0 1 2
    python tests/benchmarks/empo.py DEMO OUT --seeds 0 1 2 --grpo 60

DEMO is a folder of `fea demo`, with the base in DEMO/base/model and the SFT run of a seed in DEMO/seed-0/sft-1 and so on. For
each seed pairs are made once, of faces that no stage has seen; then each objective starts from the same SFT run and learns
from the same pairs for as many steps. All policies answer the same held-out faces, greedily and four times at temperature 1.
For each unit that a greedy answer claims rightly the face is drawn without it, and asked about again (the deletion flip
rate). Pairs of held-out faces tell what is preferred. With --grpo there is EMPO before GRPO, after GRPO (on pairs that the
GRPO run has written) and GRPO alone, all with as many rollouts. What is finished is kept: the same command goes on.

Seeds are printed one by one and pooled: faces of all seeds are drawn together by the paired bootstrap.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fea.commands.data_pairs import write_pairs
from fea.data.example import Example
from fea.data.table import open_jsonl
from fea.drawn.faces import write_faces
from fea.drawn.world import EMOTIONS
from fea.evaluation.hallucination import count_invented, share
from fea.evaluation.intervals import Interval, share_difference
from fea.model.cache import Trunk
from fea.model.checkpoints import load_policy
from fea.model.pairing import PairEncoder
from fea.model.policy import Policy
from fea.model.sampling import Generation, noise
from fea.pairs.deletion import deletion_flips
from fea.pairs.recipe import PairRecipe
from fea.prompts.answer import Answer
from fea.records.record import Rules
from fea.reports import tables
from fea.rollouts.rollout import ask
from fea.system.files import write_atomically
from fea.training.comparing import Sums, rewards, sums
from fea.training.fits import Fits

ROOT = Path(__file__).parents[2]
TOKENS, SAMPLES, BATCH, PAIRS_AT_ONCE, BETA = 112, 4, 100, 8, 0.1
# Of drawn faces: above those of any demo, whose own are small, and whose held-out ones are 1,000,001 and 1,000,002.
LEARNED, HELD_OUT, HELD_OUT_PAIRS = 2_000_000, 3_000_000, 4_000_000
# Those of configs/grpo.yaml, without the synthesis at its end.
REWARDS = [
    {"class_path": "fea.callbacks.MacroF1Reward", "init_args": {"of": "au"}},
    {"class_path": "fea.callbacks.MacroF1Reward", "init_args": {"of": "emotion"}},
    {"class_path": "fea.callbacks.FormatReward"},
    {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"save_last": True}},
]
ROWS = {
    "invented": "invented", "au_chair_i": "CHAIR_i", "au_chair_s": "CHAIR_s", "coverage": "recall", "accuracy": "accuracy",
    "flips": "flip rate", "response": "y > y'", "image": "v > v'", "question": "x > x'", "seen": "sees v",
    "sampled invented": "invented, sampled", "sampled coverage": "recall, sampled", "sampled accuracy": "accuracy, sampled",
}  # fmt: skip


# --- one seed ---


class Seed:
    """All runs of a seed.

    Args:
        demo: folder of the demo.
        out: for everything that is made.
        seed: of faces, order and sampling.
        asked: the settings of the command line.
    """

    def __init__(self, demo: Path, out: Path, seed: int, asked: argparse.Namespace):
        self.base, self.sft = demo / "base" / "model", demo / f"seed-{seed}" / "sft-1"
        self.out, self.seed, self.asked = out / f"seed-{seed}", seed, asked
        self.fits = Fits(self.out)
        self.learned = self._faces("learned", asked.faces, LEARNED)
        self.held_out = self._faces("held-out", asked.held_out, HELD_OUT)
        self.held_out_pairs = self._faces("held-out-pairs", asked.held_out, HELD_OUT_PAIRS)

    def _faces(self, name: str, count: int, seed: int) -> Path:
        file = self.out / name / "faces.jsonl"
        return file if file.exists() else write_faces(file.parent, count, seed + self.seed, "none")

    def pairs(self, run: Path, faces: Path, name: str) -> Path:
        """Pairs of faces that a run has written, made once."""
        out = self.out / f"{name}.jsonl"
        recipe = PairRecipe(seed=self.seed, samples=self.asked.samples)
        write_pairs(str(run), faces, out=out, recipe=recipe, max_tokens=TOKENS, num_workers=0, device="cpu")
        return out

    def train(self, name: str, stage: str, start: Path, pairs: Path | None, **settings: Any) -> Path:
        """A fit from a run; returns its folder."""
        common = {
            "model.policy.base": self.base,
            "model.init_from": start,
            "data.folder": self.out / "demo-faces",
            "data.seed": self.seed,
            "data.text": "none",
            "data.train_faces": 16 if pairs else 16 * max(1, self.asked.grpo),
            "data.val_faces": 32,
            "trainer.limit_val_batches": 0,  # all are judged at their end, after as many steps
            "seed_everything": self.seed,
            **({"data.train": [{"file": str(pairs), "image_root": str(pairs.parent)}]} if pairs else {}),
        }
        words = [word for file in (stage, "demo") for word in ("--config", str(ROOT / "configs" / f"{file}.yaml"))]
        self.fits.fit(name, words, common | settings)
        return self.out / name

    def prefer(self, name: str, objective: str, start: Path, pairs: Path) -> Path:
        """Preference optimization from a run."""
        return self.train(
            name, "empo", start, pairs,
            **{
                "model.preference.objective": objective, "model.preference.beta": BETA, "model.optimization.lr": self.asked.lr,
                "model.optimization.decay": "linear", "model.optimization.warmup": max(1, self.asked.steps // 10),
                "model.preference.anchor": self.asked.anchor if objective == "empo" else 1.0,
                "data.batch_size": self.asked.batch, "trainer.max_steps": self.asked.steps,
            },
        )  # fmt: skip

    def reinforce(self, name: str, start: Path) -> Path:
        """GRPO from a run, as in the demo."""
        return self.train(
            name, "grpo", start, None,
            **{
                "model.optimization.lr": 3e-4, "model.optimization.decay": "linear", "model.objective.beta": 0,
                "model.optimization.warmup": max(1, self.asked.grpo // 20), "model.seed": self.seed,
                "trainer.max_steps": self.asked.grpo,
                "trainer.callbacks": REWARDS,
            },
        )  # fmt: skip

    def runs(self) -> dict[str, Path]:
        """By title, all policies that are compared."""
        pairs = self.pairs(self.sft, self.learned, "pairs")
        found = {"SFT": self.sft}
        for objective, title in (("dpo", "DPO"), ("mdpo", "mDPO"), ("empo", "EMPO")):
            if objective in self.asked.objectives:
                found[title] = self.prefer(objective, objective, self.sft, pairs)
        if self.asked.grpo:
            found["GRPO"] = grpo = self.reinforce("grpo", self.sft)
            found["EMPO, GRPO"] = self.reinforce("empo-grpo", found["EMPO"])
            later = self.pairs(grpo, self.learned, "pairs-grpo")
            found["GRPO, EMPO"] = self.prefer("grpo-empo", "empo", grpo, later)
        return found

    def measured(self) -> dict[str, dict[str, np.ndarray]]:
        """By title and name, (F, 2) counts of what is counted, and out of how many, a row a face or a pair."""
        runs = self.runs()
        pairs = self.pairs(self.sft, self.held_out_pairs, "held-out")
        found = {}
        for title, run in runs.items():
            kept = self.out / "measured" / f"{run.name}.json"
            if not kept.exists():
                told = {name: rows.tolist() for name, rows in measure(run, self.held_out, pairs, self.sft).items()}
                kept.parent.mkdir(exist_ok=True)
                write_atomically(kept, json.dumps(told).encode())
            found[title] = {name: np.array(rows) for name, rows in json.loads(kept.read_text()).items()}
        return found


# --- what is measured ---


def faces_of(file: Path) -> list[Example]:
    """The examples of a file."""
    table = open_jsonl(file, file.parent, Rules(EMOTIONS), "raise")
    return [table[row] for row in range(len(table))]


def measure(run: Path, held_out: Path, pairs: Path, reference: Path) -> dict[str, np.ndarray]:
    """Counts of a policy's answers and preferences."""
    print(f"measuring {run}", flush=True)
    policy, _ = load_policy(str(run), "cpu")
    faces, generation = faces_of(held_out), Generation(TOKENS)
    greedy, sampled = answered(policy, faces, generation)
    found = {**counted(faces, [[answer] for answer in greedy])}
    found |= {f"sampled {name}": rows for name, rows in counted(faces, sampled).items()}
    found["flips"] = deletion_flips(policy, faces, greedy, generation, BATCH)
    return found | compared(policy, load_policy(str(reference), "cpu")[0], faces_of(pairs))


def counted(faces: Sequence[Example], answers: Sequence[Sequence[Answer]]) -> dict[str, np.ndarray]:
    """Those of `count_invented`, with invented units an answer, and right emotions."""
    found = count_invented(faces, answers)
    each = np.array([len(said) for said in answers], dtype=float)
    right = np.array([sum(a.emotion in face.labels for a in said) for face, said in zip(faces, answers, strict=True)])
    found["invented"] = np.stack([found["au_chair_i"][:, 0], each], axis=1)
    return found | {"accuracy": np.stack([right, each], axis=1)}


def answered(
    policy: Policy, faces: Sequence[Example], generation: Generation
) -> tuple[list[Answer], list[list[Answer]]]:
    """Greedy and sampled answers."""
    greedy: list[Answer] = []
    sampled: list[list[Answer]] = []
    trunk = Trunk()
    for start in range(0, len(faces), BATCH):
        part = faces[start : start + BATCH]
        prompts = policy.look([policy.encoder(face) for face in part])
        chance = noise([face.id for face in part], SAMPLES, generation.max_tokens, 0, 0)
        greedy += ask(policy, prompts, 1, generation, trunk=trunk).answers
        sampled += ask(policy, prompts, SAMPLES, generation, chance, trunk).by_prompt
    return greedy, sampled


@torch.no_grad()
def compared(policy: Policy, reference: Policy, pairs: Sequence[Example]) -> dict[str, np.ndarray]:
    """What is preferred in pairs: a row a pair that has the part."""
    encode = PairEncoder(policy.encoder, "pairs", questions=True, blur=0.0)
    margins: dict[str, list[float]] = {"response": [], "image": [], "question": [], "seen": []}
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        prompts = [prompt for pair in pairs[start : start + PAIRS_AT_ONCE] for prompt in encode(pair)]
        read: list[Sums] = [sums(one, one.look(prompts)) for one in (policy, reference)]
        found = rewards(prompts, *read, BETA)
        for name, values in {**found.margins, "seen": found.seen_P}.items():
            margins[name] += [value for value in values.tolist() if value == value]
    return {
        name: np.stack([np.array(values) > 0, np.ones(len(values))], axis=1)
        for name, values in margins.items()
        if values
    }


# --- tables ---


def show(title: str, found: dict[str, dict[str, np.ndarray]]) -> None:
    """A row a policy, and below it how EMPO differs from each control."""
    rows = [
        [name, *(f"{share(counts[row]):.3f}" if row in counts else "" for row in ROWS)]
        for name, counts in found.items()
    ]
    print(f"\n{title}\n\n{tables.aligned(('policy', *ROWS.values()), rows)}\n")
    for after, before in (
        ("EMPO", "SFT"), ("EMPO", "DPO"), ("EMPO", "mDPO"), ("DPO", "SFT"), ("EMPO, GRPO", "GRPO"), ("GRPO, EMPO", "GRPO"),
    ):  # fmt: skip
        if after in found and before in found:
            late, early = found[after], found[before]
            shown = {label: share_difference(late[row], early[row]) for row, label in ROWS.items() if row in late}
            told = [f"{label} {_shown(interval)}" for label, interval in shown.items()]
            print(f"{after} - {before}: {'; '.join(told)}")


def _shown(interval: Interval) -> str:
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def main() -> None:
    """Reads the command line, trains, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--faces", type=int, default=600, help="faces that pairs are made of")
    parser.add_argument("--samples", type=int, default=8, help="answers about each of these")
    parser.add_argument("--steps", type=int, default=120, help="optimizer steps of each objective")
    parser.add_argument("--batch", type=int, default=8, help="pairs of a step")
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--anchor", type=float, default=1.0, help="weight of EMPO's anchor")
    parser.add_argument("--held_out", type=int, default=400)
    parser.add_argument("--grpo", type=int, default=0, help="rollouts of GRPO before and after; 0: none")
    parser.add_argument("--objectives", nargs="+", default=["dpo", "mdpo", "empo"])
    asked = parser.parse_args()
    every = []
    for seed in asked.seeds:
        every.append(Seed(asked.demo, asked.out, seed, asked).measured())
        show(f"seed {seed}", every[-1])
    if len(every) > 1:
        titles = [title for title in every[0] if all(title in found for found in every)]
        show(
            f"seeds {', '.join(map(str, asked.seeds))} together",
            {t: {row: np.concatenate([found[t][row] for found in every]) for row in every[0][t]} for t in titles},
        )


if __name__ == "__main__":
    main()
