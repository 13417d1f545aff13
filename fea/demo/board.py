"""What the demo shows: every stage on the same held-out faces, as a table and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fea.data.example import Example
from fea.data.record import Rules
from fea.data.table import Table, open_jsonl
from fea.drawn.faces import EMOTIONS, ceiling
from fea.drawn.wording import analysis, annotate
from fea.evaluation.intervals import Interval, Tally, differences, judge, scores
from fea.model.cache import Trunk
from fea.model.checkpoints import load_policy
from fea.model.sampling import Generation, noise
from fea.prompts.answer import Answer, parse
from fea.reports.page import Curve, Face, write_report
from fea.rollouts.rollout import ask

_SAMPLES = 4  # answers a face at temperature 1
_BATCH = 100
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
    print(f"\n{len(faces)} held-out faces\n\n{_text_table([list(_HEADER), *rows])}\n\n" + "\n".join(gains))
    first, last = stages[0][0], stages[-1][0]
    shown = [
        Face(face, {entry.name: entry.greedy[number][0] for entry in (first, last)})
        for number, face in enumerate(faces[:_SHOWN])
    ]
    page = out / "report.html"
    strong = [len(runs)]  # the last stage; row 0 is the base
    write_report(page, "fea demo", [*_NOTES, *gains], _HEADER, rows, strong, _curves(out, runs), shown, commands)
    folder = out.parent
    print(f"\nreport: {page}\ntry:    fea analyze {folder}/faces/test-*/images/*-00000?.png --model {folder}")


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


def _text_table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _curves(out: Path, runs: Sequence[str]) -> dict[str, Curve]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    wanted = {
        "sft": ("train/loss", "val/au_f1", "val/accuracy"),
        "grpo": (
            "reward/total",
            "reward/AUReward",
            "reward/EmotionReward",
            "val/au_f1",
            "val/accuracy",
            "train/entropy",
        ),
    }
    curves: dict[str, Curve] = {}
    for run in runs:
        events = EventAccumulator(str(out / run)).Reload()
        known, tags = events.Tags()["scalars"], wanted[run.partition("-")[0]]
        curves |= {f"{run}: {tag}": [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags if tag in known}
    return curves
