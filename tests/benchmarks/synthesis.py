"""Stage 3 on drawn faces, whose truth is known: yields, quotas, revealed labels, corrupted labels, shuffled labels.

python tests/benchmarks/synthesis.py RUN [FACES]        RUN: a trained run of `fea demo`, such as runs/demo/seed-0/grpo-1
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fea.data.example import Example
from fea.demo.board import faces_of
from fea.drawn.drawing import DRAWN_AUS
from fea.drawn.faces import write_faces
from fea.facs import au_number
from fea.model.checkpoints import load_policy
from fea.model.policy import Policy
from fea.model.sampling import Generation
from fea.synthesis.admission import Admission, Admitted, Limits
from fea.synthesis.attempts import Outcome, attempted
from fea.synthesis.recipe import Checks, Recipe

RECIPE = Recipe(attempts=2, samples=4, reveal_after=2, checks=Checks(tau=0.8))
BATCH, SEED = 32, 77  # a seed that no stage of the demo has seen


def outcomes_of(policy: Policy, faces: Sequence[Example], recipe: Recipe) -> list[Outcome]:
    found: list[Outcome] = []
    for start in range(0, len(faces), BATCH):
        prompts = policy.look([policy.encoder(face) for face in faces[start : start + BATCH]])
        found += attempted(policy, prompts, prompts[0], Generation(112), recipe, round=1)
    return found


def accepted(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.answer]


def with_units(face: Example, units: set[int]) -> Example:
    return face._replace(aus=frozenset(f"AU{number}" for number in units))


def flipped(faces: Sequence[Example], chance: random.Random) -> list[Example]:
    """Each Action Unit label wrong with a probability of 10 %."""
    return [with_units(f, {n for n in DRAWN_AUS if (n in f.present) != (chance.random() < 0.1)}) for f in faces]


def swapped(faces: Sequence[Example], chance: random.Random, share: float) -> list[Example]:
    """A share of the faces with the labels of others among them."""
    numbers = chance.sample(range(len(faces)), round(share * len(faces)))
    moved = dict(zip(numbers, numbers[1:] + numbers[:1], strict=True))
    return [
        face._replace(aus=faces[moved[n]].aus, labels=faces[moved[n]].labels) if n in moved else face
        for n, face in enumerate(faces)
    ]


def precision(claims: Sequence[tuple[str, set[int]]], truth: dict[str, frozenset[int]]) -> float:
    right = sum(len(units & truth[face]) for face, units in claims)
    return right / sum(len(units) for _, units in claims)


def compare(policy: Policy, name: str, faces: Sequence[Example], truth: dict[str, frozenset[int]]) -> None:
    kept = accepted(outcomes_of(policy, faces, RECIPE))
    labels = precision([(face.id, set(face.present)) for face in faces], truth)
    own = precision([(o.example.id, set(o.example.present)) for o in kept], truth)
    lines = precision([(o.example.id, set(o.answer.aus) & set(DRAWN_AUS)) for o in kept if o.answer], truth)
    print(
        f"| {name} | {len(kept)} of {len(faces)} ({len(kept) / len(faces):.0%}) | {labels:.3f} | {own:.3f} | {lines:.3f} |",
        flush=True,
    )


def quotas(outcomes: Sequence[Outcome], limits: Limits) -> int:
    door, left_out = Admission(limits), 0
    for outcome in accepted(outcomes):
        assert outcome.answer
        entry = Admitted(outcome.judged.labels, outcome.judged.present, outcome.answer.text)
        if door.refusal(entry, outcome.judged):
            left_out += 1
        else:
            door.add(entry)
    return left_out


def yields(outcomes: Sequence[Outcome]) -> None:
    kept = accepted(outcomes)
    for title, keys in (
        ("emotion", lambda o: o.example.labels),
        ("unit", lambda o: sorted(o.example.aus, key=au_number)),
    ):
        tried, won = (Counter(key for o in some for key in keys(o)) for some in (outcomes, kept))
        print(
            f"yield by {title}: " + ", ".join(f"{key} {won[key] / count:.0%}" for key, count in sorted(tried.items()))
        )
    emotions = Counter(o.example.labels[0] for o in kept)
    smallest = min(emotions.values())
    for name, limits in {
        f"emotion {smallest} (the smallest class)": Limits(emotion=smallest),
        f"emotion {2 * smallest}": Limits(emotion=2 * smallest),
        f"unit {2 * smallest}": Limits(unit=2 * smallest),
    }.items():
        print(f"quota {name}: leaves out {quotas(outcomes, limits)} of {len(kept)}", flush=True)


def main(run: str, count: int = 600) -> None:
    policy, _ = load_policy(run)
    with tempfile.TemporaryDirectory() as folder:
        faces = faces_of(write_faces(Path(folder), count, seed=SEED, text="none"))
        truth = {face.id: face.present for face in faces}
        true = outcomes_of(policy, faces, RECIPE)
        yields(true)
        told = replace(RECIPE, attempts=4)
        late = accepted(outcomes_of(policy, faces, told))
        revealed = sum(outcome.revealed for outcome in late)
        print(f"two more attempts that see the labels: {len(late)} accepted, {revealed} of them with labels in sight")
        print(
            "| labels | accepted | precision of all labels | of theirs | of the accepted lines |\n|---|---|---|---|---|"
        )
        chance = random.Random(0)
        compare(policy, "true", faces, truth)
        compare(policy, "10 % of the units flipped", flipped(faces, chance), truth)
        compare(policy, "10 % of the faces with others' labels", swapped(faces, chance, 0.1), truth)
        compare(policy, "shuffled among all faces", swapped(faces, chance, 1.0), truth)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
