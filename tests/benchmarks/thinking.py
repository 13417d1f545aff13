"""Answers after thinking, before it and alone, side by side; and whether thinking carries them, with and without its reward.

python tests/benchmarks/thinking.py BASE OUT SEED [--sft 480] [--rollouts 200] [--faces 1500] [--carried 500]
python tests/benchmarks/thinking.py --table OUT

BASE is the base of a demo, such as runs/demo/base/model. From it come, in OUT/seed-SEED: `sft`, on the analyses of the demo
with a third of the prompts in each form (`policy.answers`); `grpo`, the demo's stage 2 from it with the same forms; and
`consistent`, the same with `fea.callbacks.ConsistencyReward`. What is finished is kept, so a command that was stopped goes on
where it was. The table is of greedy answers about held-out faces, each seed by itself, with intervals of the paired bootstrap
over faces.
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fea.data.example import Example
from fea.demo.board import faces_of
from fea.demo.stages import FULL, Demo
from fea.drawn.world import WorldSettings
from fea.evaluation.carried import carried_scores, count_carried, is_carried
from fea.evaluation.counts import Floats
from fea.evaluation.intervals import Interval, Tally, differences, judge, scores
from fea.model.cache import Trunk
from fea.model.checkpoints import load_policy
from fea.model.sampling import Generation
from fea.prompts.answer import FORMS, Answer, Form
from fea.rollouts.consistency import carried
from fea.rollouts.rollout import ask
from fea.training.fits import Fits

TOKENS, BATCH = 112, 100  # as in configs/demo.yaml
RUNS = ("sft", "grpo", "consistent")
FORMS_MIXED = "{after_thinking: 1, first: 1, only: 1}"
REWARDS = """\
trainer:
  callbacks:
    - {class_path: fea.callbacks.MacroF1Reward, init_args: {of: au}}
    - {class_path: fea.callbacks.MacroF1Reward, init_args: {of: emotion}}
    - class_path: fea.callbacks.FormatReward
    - class_path: fea.callbacks.RewardGap
    - class_path: fea.callbacks.Watch
    - class_path: fea.callbacks.Consistency
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {filename: best, monitor: val/score, mode: max, save_last: true, enable_version_counter: false}
"""
MORE = "    - class_path: fea.callbacks.ConsistencyReward\n"
LIKELIHOODS = ("consistency", "evidence")


class Asked(NamedTuple):
    """What a run said about the held-out faces in one form.

    Attributes:
        answers: a greedy one to each.
        likelihoods: by number of the table, those of the first answers.
        seconds: that writing the answers took.
    """

    answers: list[Answer]
    likelihoods: dict[str, list[dict[str, float]]]
    seconds: float


def train(base: Path, out: Path, seed: int, steps: int, rollouts: int) -> None:
    """The three fits of a seed."""
    (out / "base").mkdir(parents=True, exist_ok=True)
    if not (out / "base" / "model").exists():
        (out / "base" / "model").symlink_to(base.resolve())
    budget = FULL._replace(sft_steps=steps, rollouts=rollouts, labels=16 * rollouts)
    demo = Demo(out, f"seed-{seed}", seed, budget, WorldSettings())
    for name, text in {"plain": REWARDS, "consistent": REWARDS + MORE}.items():
        (out / f"{name}.yaml").write_text(text)
    mixed, fits = {"model.policy.answers": FORMS_MIXED}, Fits(demo.loop.out)
    sft, grpo = demo.loop.stages["sft"], demo.loop.stages["grpo"]
    fits.fit("sft", words(sft.configs), {**sft.settings, **mixed})
    later = {**grpo.settings, **mixed, "model.init_from": demo.loop.out / "sft"}
    fits.fit("grpo", words([*grpo.configs, str(out / "plain.yaml")]), later)
    fits.fit("consistent", words([*grpo.configs, str(out / "consistent.yaml")]), later)


def words(configs: Sequence[str]) -> list[str]:
    return [word for file in configs for word in ("--config", file)]


def held_out(out: Path, faces: int) -> list[Example]:
    budget = FULL._replace(held_out=faces)
    return faces_of(Demo(out, "held-out", 0, budget, WorldSettings()).faces().draw("test"))


def asked(run: Path, faces: Sequence[Example], form: Form, most: int) -> Asked:
    """Asks a run, batch by batch; likelihoods, which are not in the time, of the first faces alone."""
    policy, _ = load_policy(str(run), "cpu")
    generation, trunk = Generation(TOKENS), Trunk()
    answers: list[Answer] = []
    likelihoods: dict[str, list[dict[str, float]]] = {name: [] for name in LIKELIHOODS}
    seconds = 0.0
    for start in range(0, len(faces), BATCH):
        begin = time.perf_counter()
        some = [policy.encoder(face._replace(form=form)) for face in faces[start : start + BATCH]]
        rollout = ask(policy, policy.look(some), 1, generation, trunk=trunk)
        seconds += time.perf_counter() - begin
        answers += rollout.answers
        for name in LIKELIHOODS if start < most else ():
            likelihoods[name] += carried(policy, rollout, evidence=name == "evidence")
    return Asked(answers, likelihoods, seconds)


def measure(out: Path, seed: int, faces: Sequence[Example], most: int) -> None:
    for run in RUNS:
        for form in FORMS:
            file = out / f"seed-{seed}" / run / f"asked-{form}-{len(faces)}.pkl"
            if not file.exists():
                file.write_bytes(pickle.dumps(asked(out / f"seed-{seed}" / run, faces, form, most)))


def told(interval: Interval) -> str:
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def paired(after: Floats, before: Floats, draws: int = 2000) -> Interval:
    """Of the means of two numbers of each face; NaN where one is unknown."""
    times = np.random.default_rng(0).multinomial(len(after), np.full(len(after), 1 / len(after)), size=draws)

    def means(values: Floats, weights: Any) -> Any:
        known = ~np.isnan(values)
        return weights @ np.nan_to_num(values) / np.maximum(weights @ known, 1)

    drawn = means(after, times) - means(before, times)
    return Interval(float(np.nanmean(after) - np.nanmean(before)), *map(float, np.quantile(drawn, (0.025, 0.975))))


def per_face(said: Asked, name: str, words_E: Sequence[str]) -> tuple[Floats, Floats]:
    """Of each face whether its answer is carried, and its gain in nats, NaN where nothing can be read."""
    pairs = list(zip(said.answers, said.likelihoods[name], strict=False))
    right = np.array([float(bool(likely) and is_carried(answer.emotion or "", likely)) for answer, likely in pairs])
    known = [likely for _, likely in pairs if likely]
    prior = {word: np.mean([likely[word] for likely in known]) if known else 1.0 for word in words_E}
    gain = np.array(
        [
            np.log(max(likely[a.emotion or ""], 1e-12) / prior[a.emotion or ""]) if likely else np.nan
            for a, likely in pairs
        ]
    )
    return right, gain


def show(out: Path, seed: int, faces: Sequence[Example]) -> None:
    folder = out / f"seed-{seed}"
    found: dict[tuple[str, Form], Asked] = {
        (run, form): pickle.loads((folder / run / f"asked-{form}-{len(faces)}.pkl").read_bytes())
        for run in RUNS
        for form in FORMS
    }
    tallies = {key: judge(faces, [[answer] for answer in said.answers]) for key, said in found.items()}
    print(f"\n## seed {seed}, {len(faces)} held-out faces\n")
    forms(found, tallies, len(faces))
    carrying(found, faces[0].emotions)


def forms(found: dict[tuple[str, Form], Asked], tallies: dict[tuple[str, Form], Tally], faces: int) -> None:
    print("| run | answer | images a second | accuracy | emotion F1 | AU F1 | AU micro F1 | well-formed |")
    print("|---|---|---|---|---|---|---|---|")
    for (run, form), tally in tallies.items():
        numbers = {name: float(value[0]) for name, value in scores(tally).items()}
        cells = [f"{numbers[name]:.3f}" if name in numbers else "-" for name in ("accuracy", "emotion_f1")]
        cells += [f"{numbers[name]:.3f}" if form != "only" else "-" for name in ("au_f1", "au_micro_f1")]
        speed = f"{faces / found[run, form].seconds:.1f}"
        print(f"| {run} | {form} | {speed} | {' | '.join(cells)} | {numbers['format']:.3f} |")
    print(
        "\npaired differences, 95 %:\n\n| run | less after_thinking | accuracy | emotion F1 | AU F1 |\n|---|---|---|---|---|"
    )
    for run in RUNS:
        for form in FORMS[1:]:
            changes = differences(tallies[run, form], tallies[run, "after_thinking"])
            units = told(changes["au_f1"]) if form == "first" else "-"
            print(f"| {run} | {form} | {told(changes['accuracy'])} | {told(changes['emotion_f1'])} | {units} |")
    print("\n| runs | answer | accuracy | emotion F1 | AU F1 |\n|---|---|---|---|---|")
    for before, after in combinations(RUNS, 2):
        for form in FORMS:
            changes = differences(tallies[after, form], tallies[before, form])
            units = told(changes["au_f1"]) if form != "only" else "-"
            cells = f"{told(changes['accuracy'])} | {told(changes['emotion_f1'])} | {units}"
            print(f"| {before} to {after} | {form} | {cells} |")


def carrying(found: dict[tuple[str, Form], Asked], words_E: Sequence[str]) -> None:
    print("\nDoes the thinking carry the answer, image removed (evidence: without sentences that name an emotion):\n")
    print("| run | answer | consistency | gain, nats | evidence | gain, nats |\n|---|---|---|---|---|---|")
    for run in RUNS:
        for form in FORMS[:2]:
            said, numbers = found[run, form], dict[str, float]()
            for name in LIKELIHOODS:
                likely = said.likelihoods[name]
                numbers |= carried_scores(count_carried(said.answers[: len(likely)], likely, words_E), name)
            names = [f"{name}{end}" for name in LIKELIHOODS for end in ("", "_gain")]
            print(f"| {run} | {form} | {' | '.join(f'{numbers.get(name, np.nan):.3f}' for name in names)} |")
    print("\n| runs | answer | consistency | gain | evidence | gain |\n|---|---|---|---|---|---|")
    for before, after in combinations(RUNS, 2):
        for form in FORMS[:2]:
            cells = []
            for name in LIKELIHOODS:
                sides = [per_face(found[run, form], name, words_E) for run in (after, before)]
                cells += [told(paired(late, early)) for late, early in zip(*sides, strict=True)]
            print(f"| {before} to {after} | {form} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--sft", type=int, default=480, help="optimizer steps of stage 1")
    parser.add_argument("--rollouts", type=int, default=200, help="of each stage 2")
    parser.add_argument("--faces", type=int, default=1500, help="held out")
    parser.add_argument("--carried", type=int, default=500, help="of these, whose thinking is weighed")
    parser.add_argument("--table", type=Path, help="folder whose finished seeds are shown again")
    given = parser.parse_args()
    out = given.table or given.out
    faces = held_out(out, given.faces)
    if given.table is None:
        train(given.base, out, given.seed, given.sft, given.rollouts)
        measure(out, given.seed, faces, given.carried)
        seeds = [given.seed]
    else:
        seeds = sorted(int(folder.name.removeprefix("seed-")) for folder in out.glob("seed-*"))
    for seed in seeds:
        show(out, seed, faces)


if __name__ == "__main__":
    main()
