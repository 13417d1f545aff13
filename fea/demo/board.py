"""What the demo shows: every stage on the same held-out faces, as a table and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fea.data.example import Example
from fea.data.table import Table, open_jsonl
from fea.drawn.faces import best_guesses, ceiling, shares
from fea.drawn.wording import analysis, annotate
from fea.drawn.world import EMOTIONS, GRADES, Prior, World
from fea.evaluation.counts import f1, macro
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

_COLUMNS = {
    "au_f1": "AU F1", "au_micro_f1": "AU micro F1", "accuracy": "accuracy", "emotion_f1": "emotion F1",
    "invented": "invented", "format": "format",
}  # fmt: skip
_GAINS = ("au_f1", "accuracy", "emotion_f1", "invented")
_HEADER = ("stage", *_COLUMNS.values())
_NOTES = (
    "All faces are drawn, so their Action Units are true by construction. The base has seen other drawn faces with captions in "
    "plain words, and a tower trained on sixteen movements; no codes, no emotions. Stage 1 has seen analyses by a biased "
    "annotator, who knows the emotion, invents Action Units that it suggests and overlooks faint ones. Stage 2 has seen the "
    "same faces and more, with labels and no analyses.",
    "Stage 3 has let the policy write analyses of the faces of stage 2; stage 1 of the next round learns from those that agree "
    "with the labels.",
    "Every number is measured on held-out faces that no stage has seen. AU F1 and emotion F1 are macro F1: means over Action "
    "Units and over emotions, where a rare one counts as much as a frequent one; AU micro F1 and accuracy are means over "
    "decisions and over faces. Invented counts claimed Action Units that are not there, per answer. Sampled means four answers "
    "a face at temperature 1, all else is one greedy answer.",
)
# By stage, what the page shows of its training.
_CURVES = {
    "sft": ("train/loss", "val/au_f1", "val/accuracy"),
    "grpo": ("rollout/au_f1", "rollout/emotion_f1", "val/au_f1", "val/emotion_f1", "val/accuracy", "train/entropy"),
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
    out: Path,
    faces: Sequence[Example],
    entries: Sequence[Entry],
    runs: Sequence[str],
    commands: Sequence[str],
    world: World,
) -> None:
    """Prints the table, and writes `report.html`.

    Args:
        out: folder of the runs.
        faces: that all were judged on.
        entries: the base, the stages in their order, then whatever they are compared with.
        runs: names of the stages' runs.
        commands: what was run.
        world: that the faces are drawn from.
    """
    tallies = [(judge(faces, entry.greedy), judge(faces, entry.sampled)) for entry in entries]
    names = [entry.name for entry in entries]
    rows = [_row(name, greedy) for name, (greedy, _) in zip(names, tallies, strict=True)]
    rows += [_row(f"{name}, sampled", sampled) for name, (_, sampled) in zip(names, tallies, strict=True)]
    rows.append(_ceiling(world.prior))
    stages = list(zip(entries, tallies, strict=True))[1 : len(runs) + 1]
    gains = [line for (before, early), (after, late) in pairwise(stages) for line in _gains(before, early, after, late)]
    lines = [*gains, *(_forgotten(name, greedy) for name, (greedy, _) in zip(names[1:], tallies[1:], strict=True))]
    print(f"\n{len(faces)} held-out faces\n\n{tables.aligned(_HEADER, rows)}\n\n" + "\n".join(lines))
    first, last = stages[0][0], stages[-1][0]
    shown = [
        Face(face, {entry.name: entry.greedy[number][0] for entry in (first, last)})
        for number, face in enumerate(faces[:_SHOWN])
    ]
    strong = [len(runs), len(entries) + len(runs)]  # the last stage; row 0 is the base
    page = Page(
        "fea demo", [*_NOTES, *_described(world), *lines], _HEADER, rows, _curves(out, runs), commands, strong, shown
    )
    write_page(out / PAGE, page)
    folder = out.parent
    print(f"\nreport: {out / PAGE}\ntry:    fea analyze {folder}/faces/test-*/images/*-00000?.png --model {folder}")


def _row(name: str, tally: Tally) -> list[str]:
    found = scores(tally)
    return [name, *(f"{float(found[column][0]):.{2 if column == 'invented' else 3}f}" for column in _COLUMNS)]


def _ceiling(prior: Prior) -> list[str]:
    """What no reader of units exceeds; its emotion F1 is that of the best guess, which is best in accuracy."""
    guessed = 1e6 * best_guesses(prior)  # counts of a million faces
    hits, claimed, present = np.diagonal(guessed), guessed.sum(axis=0), guessed.sum(axis=1)
    mean = float(macro(f1(hits, claimed, present), present > 0))
    best = [f"{ceiling(prior):.3f}", f"{mean:.3f}"]
    return ["ceiling: the best guess from the true AUs", "1.000", "1.000", *best, "0.00", "1.000"]


def _forgotten(name: str, tally: Tally) -> str:
    """What occurs in the labels of these faces and in none of the answers."""
    labeled, said = tally.emotions.confusion.sum(axis=(0, 2)) > 0, tally.emotions.said.sum(axis=0)[:-1] > 0
    present, claimed = tally.aus.present.sum(axis=0) > 0, tally.aus.claimed.sum(axis=0) > 0
    words = ", ".join(tally.words[column] for column in np.flatnonzero(labeled & ~said))
    units = ", ".join(f"AU{number}" for number in np.flatnonzero(present & ~claimed))
    answers = f"never answers {words}" if words else "answers every emotion that occurs"
    claims = f"never claims {units}" if units else "claims every AU that occurs"
    return f"{name}, greedy: {answers}; {claims}"


def _described(world: World) -> list[str]:
    """What the page says of a world that is not the plain one."""
    if world == World():
        return []
    emotions = dict(zip(EMOTIONS, world.prior.emotions, strict=True))
    units = {f"AU{n}": share for n, share in shares(world.prior).items()}
    grades = ", ".join(f"{n} {share:.0%}" for n, share in zip(GRADES, world.prior.grades, strict=True) if share)
    shown, moved = (
        ", ".join(f"{name} {share:.1%}" for name, share in sorted(found.items(), key=lambda entry: -entry[1]))
        for found in (emotions, units)
    )
    return [
        f"The faces come from a world of its own. Emotions: {shown}. Action Units: {moved}. Grades of these: "
        f"{grades}. People in each set, and in no other: {world.people or 'as many as faces'}. Of two things that are taken "
        f"for each other the rarer one is mislabeled with probability {world.noise}, in faces to learn from alone."
    ]


def _gains(before: Entry, early: tuple[Tally, Tally], after: Entry, late: tuple[Tally, Tally]) -> list[str]:
    """What a stage changed, with 95 % intervals of the paired bootstrap."""
    lines = []
    for how, then, now in zip(("greedy", "sampled"), early, late, strict=True):
        changes: Mapping[str, Interval] = differences(now, then)
        told = [
            f"{_COLUMNS[name]} {changes[name].mean:+.3f} [{changes[name].low:+.3f}, {changes[name].high:+.3f}]"
            for name in _GAINS
        ]
        lines.append(f"{before.name} to {after.name}, {how}: {', '.join(told)} (95 %, paired bootstrap over faces)")
    return lines


def _curves(out: Path, runs: Sequence[str]) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for run in runs:
        logged = curves_of(out / run)
        curves |= {f"{run}: {tag}": logged[tag] for tag in _CURVES[run.partition("-")[0]] if tag in logged}
    return curves
