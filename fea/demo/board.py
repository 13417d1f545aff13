"""What the demo shows: every stage on the same held-out faces, as a table and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fea.data.example import Example
from fea.data.table import Table, open_jsonl
from fea.drawn.faces import ceiling
from fea.drawn.wording import analysis, annotate
from fea.drawn.world import EMOTIONS
from fea.evaluation.intervals import Interval, Tally, differences, judge, scores
from fea.iterate import PAGE
from fea.model.cache import Trunk
from fea.model.checkpoints import load_policy
from fea.model.sampling import Generation, noise
from fea.prompts.answer import Answer, parse
from fea.records.record import Rules
from fea.reports import tables
from fea.reports.curves import Curve, curves_of
from fea.reports.page import Face, Page, write_page
from fea.rollouts.rollout import ask

_SAMPLES = 4  # answers a face at temperature 1
_BATCH = 100  # faces that are answered together, as in the validation of the demo (configs/demo.yaml)
_SHOWN = 8  # faces on the page

Said = list[list[Answer]]  # for each face its answers

_HEADER = ("stage", "AU F1", "accuracy", "AU F1, sampled", "accuracy, sampled", "invented, sampled", "format, sampled")
_NOTES = (
    "All faces are drawn, so their Action Units are true by construction. The base has seen other drawn faces with captions in "
    "plain words, and a tower trained on sixteen movements; no codes, no emotions. Stage 1 has seen analyses by a biased "
    "annotator, who knows the emotion, invents Action Units that it suggests and overlooks faint ones. Stage 2 has seen the "
    "same faces and more, with labels and no analyses.",
    "Stage 3 has let the policy write analyses of the faces of stage 2; stage 1 of the next round learns from those that agree "
    "with the labels.",
    "Every number is measured on held-out faces that no stage has seen: AU F1 is the macro F1 of the drawn Action Units, "
    "invented counts claimed Action Units that are not there, per answer. Sampled means four answers a face at temperature 1.",
)
# By stage, what the page shows of its training.
_CURVES = {
    "sft": ("train/loss", "val/au_f1", "val/accuracy"),
    "grpo": ("reward/total", "reward/AUReward", "reward/EmotionReward", "val/au_f1", "val/accuracy", "train/entropy"),
}


class Entry(NamedTuple):
    """A stage and its answers: one greedy answer a face, and several sampled ones."""

    name: str
    greedy: Said
    sampled: Said


def faces_of(file: Path) -> list[Example]:
    """The examples of a drawn file."""
    table: Table = open_jsonl(file, file.parent, Rules(EMOTIONS, "raise", False), "raise")
    return [table[number] for number in range(len(table))]


def answered(run: Path, faces: Sequence[Example]) -> tuple[Said, Said]:
    """Greedy and sampled answers of a run's policy."""
    policy, _ = load_policy(str(run))
    generation = Generation(max_tokens=112)
    greedy: Said = []
    sampled: Said = []
    trunk = Trunk()
    for start in range(0, len(faces), _BATCH):
        prompts = policy.look([policy.encoder(face) for face in faces[start : start + _BATCH]])
        chance = noise([face.id for face in faces[start : start + _BATCH]], _SAMPLES, generation.max_tokens, 0, 0)
        greedy += ask(policy, prompts, 1, generation, trunk=trunk).by_prompt
        sampled += ask(policy, prompts, _SAMPLES, generation, chance, trunk).by_prompt
    return greedy, sampled


def annotator_entry(faces: Sequence[Example]) -> Entry:
    """What the annotator of stage 1 would write about the faces; being told the emotion, it is always right about that."""
    rng = np.random.default_rng(0)
    said: Said = []
    for face in faces:
        grades = {int(code.removeprefix("AU")): int(grade) for code, grade in face.intensities.items()}
        said.append([parse(analysis(annotate(grades, face.labels[0], rng), face.labels[0], rng), face.emotions)])
    return Entry("annotator of stage 1, told the emotion", said, said)


def write_board(
    out: Path, faces: Sequence[Example], entries: Sequence[Entry], runs: Sequence[str], commands: Sequence[str]
) -> None:
    """Prints the table, and writes `report.html`.

    Args:
        out: folder of the runs.
        faces: that all were judged on.
        entries: the base, the stages in their order, then whatever they are compared with.
        runs: names of the stages' runs.
        commands: what was run.
    """
    tallies = [(judge(faces, entry.greedy), judge(faces, entry.sampled)) for entry in entries]
    rows = [_row(entry.name, *tally) for entry, tally in zip(entries, tallies, strict=True)]
    best = f"{ceiling():.3f}"
    rows.append(["ceiling: the best guess from the true AUs", "1.000", best, "1.000", best, "0.00", "1.000"])
    stages = list(zip(entries, tallies, strict=True))[1 : len(runs) + 1]
    gains = [line for (before, early), (after, late) in pairwise(stages) for line in _gains(before, early, after, late)]
    print(f"\n{len(faces)} held-out faces\n\n{tables.aligned(_HEADER, rows)}\n\n" + "\n".join(gains))
    first, last = stages[0][0], stages[-1][0]
    shown = [
        Face(face, {entry.name: entry.greedy[number][0] for entry in (first, last)})
        for number, face in enumerate(faces[:_SHOWN])
    ]
    strong = [len(runs)]  # the last stage; row 0 is the base
    page = Page("fea demo", [*_NOTES, *gains], _HEADER, rows, _curves(out, runs), commands, strong, shown)
    write_page(out / PAGE, page)
    folder = out.parent
    print(f"\nreport: {out / PAGE}\ntry:    fea analyze {folder}/faces/test-*/images/*-00000?.png --model {folder}")


def _row(name: str, greedy: Tally, sampled: Tally) -> list[str]:
    g, s = scores(greedy), scores(sampled)
    cells = [g["au_f1"], g["accuracy"], s["au_f1"], s["accuracy"]]
    return [
        name,
        *(f"{float(c[0]):.3f}" for c in cells),
        f"{float(s['invented'][0]):.2f}",
        f"{float(s['format'][0]):.3f}",
    ]


def _gains(before: Entry, early: tuple[Tally, Tally], after: Entry, late: tuple[Tally, Tally]) -> list[str]:
    """What a stage changed, with 95 % intervals of the paired bootstrap."""
    lines = []
    for how, then, now in zip(("greedy", "sampled"), early, late, strict=True):
        changes: Mapping[str, Interval] = differences(now, then)
        told = [
            f"{title} {changes[name].mean:+.3f} [{changes[name].low:+.3f}, {changes[name].high:+.3f}]"
            for name, title in {"au_f1": "AU F1", "accuracy": "accuracy", "invented": "invented"}.items()
        ]
        lines.append(f"{before.name} to {after.name}, {how}: {', '.join(told)} (95 %, paired bootstrap over faces)")
    return lines


def _curves(out: Path, runs: Sequence[str]) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for run in runs:
        logged = curves_of(out / run)
        curves |= {f"{run}: {tag}": logged[tag] for tag in _CURVES[run.partition("-")[0]] if tag in logged}
    return curves
