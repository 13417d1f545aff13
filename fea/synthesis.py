"""Stage 3: the policy writes analyses for faces that have labels and none, and only those that pass the triple check are kept.

    for each batch of faces:
        attempt 1 sees the image and the question; a later one is told what kind of check its last attempt failed;
        one beyond `reveal_after` sees the labels, and its record says so
        of `samples` completions the first that passes is kept

Sampling noise belongs to the face and the attempt, so a batch that is tried again says the same; `fea.journal` keeps the
results.

Source: Facial-R1, arXiv 2511.10254v1, "Data synthesis".
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fea.data.encoding import Prompt
from fea.data.example import Example
from fea.errors import FEAError
from fea.evaluation import parse_all
from fea.policy import Policy
from fea.prompts import PROMPT_VERSION, Answer
from fea.rewards import au_f1
from fea.sampling import Generation, noise
from fea.triple_check import Checks, Reason, failures, hint, revelation


@dataclass
class Recipe:
    """How analyses are made.

    Args:
        attempts: for each face, at most.
        samples: completions of an attempt.
        reveal_after: attempts that do not see the labels; as many as `attempts` never shows them.
        checks: what an analysis has to pass.
        seed: of the sampling.
    """

    attempts: int = 4
    samples: int = 4
    reveal_after: int = 4
    checks: Checks = field(default_factory=Checks)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("attempts", "samples"):
            if getattr(self, name) < 1:
                raise FEAError(f"synthesis.{name}: {getattr(self, name)}; give at least 1")


class Outcome(NamedTuple):
    """What became of a face.

    Attributes:
        example: the face.
        answer: the accepted analysis, or None.
        attempts: that it took.
        revealed: whether the accepted one had seen the labels.
        reasons: of the rejection of each attempt's best completion.
    """

    example: Example
    answer: Answer | None
    attempts: int
    revealed: bool
    reasons: list[list[Reason]]


def attempted(
    policy: Policy, prompts: Sequence[Prompt], generation: Generation, recipe: Recipe, round: int
) -> list[Outcome]:
    """Lets the policy try a batch of faces.

    Args:
        policy: in eval mode.
        prompts: of the faces, on its device.
        generation: length limit and temperature.
        recipe: how often, and what is asked.
        round: of the synthesis; each draws its own completions.
    """
    waiting = {number: Outcome(prompt.example, None, 0, False, []) for number, prompt in enumerate(prompts)}
    done: dict[int, Outcome] = {}
    for attempt in range(1, recipe.attempts + 1):
        asked = [_asked(policy, prompts[number], outcome, attempt, recipe) for number, outcome in waiting.items()]
        answers = _answers(policy, asked, generation, recipe, round * recipe.attempts + attempt)
        for (number, outcome), written in zip(list(waiting.items()), answers, strict=True):
            judged = [(failures(answer, outcome.example, recipe.checks), answer) for answer in written]
            reasons, answer = min(judged, key=lambda entry: len(entry[0]))  # the first of the best
            if reasons:
                waiting[number] = outcome._replace(attempts=attempt, reasons=[*outcome.reasons, reasons])
            else:
                done[number] = outcome._replace(answer=answer, attempts=attempt, revealed=attempt > recipe.reveal_after)
                del waiting[number]
        if not waiting:
            break
    return [outcome for _, outcome in sorted((waiting | done).items())]


def _asked(policy: Policy, prompt: Prompt, outcome: Outcome, attempt: int, recipe: Recipe) -> Prompt:
    """The prompt of an attempt: as it is for the first, with what was wrong for the others."""
    if attempt == 1:
        return prompt
    said = [prompt.example.question, hint(outcome.reasons[-1])]
    said += [revelation(prompt.example)] if attempt > recipe.reveal_after else []
    return policy.encoder.ask(prompt, " ".join(filter(None, said)))


def _answers(
    policy: Policy, prompts: Sequence[Prompt], generation: Generation, recipe: Recipe, turn: int
) -> list[list[Answer]]:
    ids = [prompt.example.id for prompt in prompts]
    chance = noise(ids, recipe.samples, generation.max_tokens, recipe.seed, turn)
    texts = policy.rollout(prompts, recipe.samples, generation, chance).texts
    parsed = parse_all(texts, prompts)
    return [parsed[n : n + recipe.samples] for n in range(0, len(parsed), recipe.samples)]


def record(outcome: Outcome, image_root: Path, provenance: dict[str, Any]) -> dict[str, Any]:
    """An accepted analysis as a line in FEA-20K format, with where it comes from in `meta_info`."""
    example, answer = outcome.example, outcome.answer
    assert answer is not None
    meta = {
        **json.loads(example.meta),
        "synthesis": {
            **provenance,
            "prompt": PROMPT_VERSION,
            "attempt": outcome.attempts,
            "revealed": outcome.revealed,
            "au_f1": au_f1(answer, example),
        },
    }
    coded = [f"AU{number}" for number in sorted(example.coded)]
    return {
        "id": example.id,
        "dataset": example.dataset,
        "image": os.path.relpath(Path(example.image).resolve(), image_root.resolve()),
        "question": example.question,
        "AUs": None if example.aus is None else sorted(example.aus),
        **({"AUs_coded": coded} if coded else {}),
        "labels": list(example.labels),
        "description": answer.text,
        "meta_info": meta,
    }
