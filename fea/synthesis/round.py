"""Stage 3, a round of it: all faces without an analysis, batch by batch, by one process or by several.

    for each batch of faces, one a process:
        skip those of which the set has enough
        let the policy try                                       -> outcomes     (fea.synthesis.attempts)
        admit them in their order, whoever wrote them            -> admitted     (fea.synthesis.admission)
        append them to the files                                                 (fea.synthesis.journal)

A batch is the same, and is judged in the same order, for any number of processes; so are the lines that are accepted.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fea.data.example import Example
from fea.data.loader import EpochSampler, Loader
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.model import checkpoints
from fea.model.config import PolicyConfig
from fea.model.policy import Policy
from fea.model.sampling import Generation
from fea.prompts.prompt import PROMPT_VERSION
from fea.synthesis.admission import Admission, Admitted, Limits
from fea.synthesis.attempts import Judge, Outcome, attempted
from fea.synthesis.checks import failures
from fea.synthesis.journal import Journal, admitted
from fea.synthesis.recipe import Pace, Recipe, Seeded
from fea.system.processes import count, gathered, rank
from fea.system.progress import progress


def expect_thinking(config: PolicyConfig) -> None:
    """Refuses a policy whose answers are no analyses.

    Raises:
        FEAError: it was trained to answer without thinking.
    """
    if config.form == "only":
        raise FEAError(
            "policy.answer: 'only' asks for no thinking, so there are no analyses to be kept; use another run"
        )


def provenance(policy: Policy, recipe: Seeded, round: int) -> dict[str, Any]:
    """What every line says of its origin: round, seed, model, its weights and the prompt. Called on all processes."""
    return {
        "round": round,
        "seed": recipe.seed,
        "base": Path(policy.config.base).name,
        "model": checkpoints.fingerprint(policy.trainable()),
        "prompt": PROMPT_VERSION,
    }


def settings_of(examples: Sequence[Example], batch_size: int, generation: Generation, recipe: Seeded) -> dict[str, Any]:
    """What decides what is written, as plain values: the faces with all that is known of them, and how analyses are made."""
    digest = hashlib.sha256()
    for example in examples:
        known = (sorted(example.aus or ()), sorted(example.coded), example.labels, example.emotions)
        digest.update(json.dumps([example.id, Path(example.image).name, example.question, *known]).encode())
    faces = {"faces": len(examples), "data": digest.hexdigest()[:32]}
    return {**faces, "batch_size": batch_size, **asdict(generation), **asdict(recipe)}


def distinct(examples: Sequence[Example]) -> list[Example]:
    """The faces with ids that differ: sampling noise belongs to them. One that occurs twice gives way to file and line."""
    times = Counter(example.id for example in examples)
    return [example._replace(id=example.place) if times[example.id] > 1 else example for example in examples]


def run(
    policy: Policy,
    examples: Sequence[Example],
    journal: Journal,
    recipe: Recipe,
    generation: Generation,
    pace: Pace,
    earlier: Iterable[Admitted] = (),
    between: Callable[[], None] = lambda: None,
    judge: Judge = failures,
) -> None:
    """Goes through faces, from where the journal stands.

    Args:
        policy: in eval mode.
        examples: the faces, the same and in the same order on all processes.
        journal: keeps the outcomes.
        recipe: how analyses are made.
        generation: length limit and temperature.
        pace: how much at a time.
        earlier: what is in the set already, beside what the journal holds.
        between: called between batches, on all processes.
        judge: says what is wrong with an answer.
    """
    begun, known = gathered((journal.batches, admitted(journal.file)) if rank() == 0 else (0, []))[0]
    admission = Admission(Limits(recipe.quota_emotion, recipe.quota_au, recipe.alike), [*earlier, *known])
    end = time.monotonic() + 60 * (pace.minutes or math.inf)
    filler = _readable(policy, examples)
    batches = _batches(policy, examples, begun, pace)

    def attempt(prompts: list[Prompt], filler: Prompt) -> list[Outcome]:
        return attempted(policy, prompts, filler, generation, recipe, journal.round, judge)

    left = math.ceil(len(examples) / pace.batch_size) - begun
    done = min(begun * pace.batch_size, len(examples))  # the last batch may be a short one
    with progress(len(examples), "faces", done, silent=rank() > 0) as advance:
        for _ in range(math.ceil(left / count())):
            if gathered(time.monotonic() > end)[0]:
                break
            faces, prompts = next(batches, ([], []))
            outcomes = _outcomes(attempt, policy, faces, prompts, filler, admission)
            for batch in filter(None, gathered(outcomes)):
                journal.add([_admitted(outcome, admission) for outcome in batch])
                advance(len(batch))
            between()


def _readable(policy: Policy, examples: Sequence[Example]) -> Prompt:
    """A prompt of the first face whose image can be read."""
    for example in examples:
        with suppress(FEAError):
            return policy.encoder(example)
    raise FEAError(f"none of {len(examples)} images can be read, the first is '{examples[0].image}'")


def _batches(
    policy: Policy, examples: Sequence[Example], begun: int, pace: Pace
) -> Iterator[tuple[Sequence[Example], list[Prompt]]]:
    """The batches of this process: every n-th of those that are left, so that a batch is the same for any n.

    Yields:
        The faces of a batch, and the prompts of those that can be read.
    """
    size = pace.batch_size
    starts = range((begun + rank()) * size, len(examples), count() * size)
    batches = [examples[start : start + size] for start in starts]
    mine = [example for batch in batches for example in batch]
    sampler = EpochSampler(len(mine), shuffle=False)
    loader = Loader(mine, policy.encoder, sampler, size, pace.workers, pace.on_bad, training=False)
    return zip(batches, loader, strict=True)


def _outcomes(
    attempt: Callable[[list[Prompt], Prompt], list[Outcome]],
    policy: Policy,
    faces: Sequence[Example],
    prompts: list[Prompt],
    filler: Prompt,
    admission: Admission,
) -> list[Outcome]:
    """What became of a batch; faces of which there are enough are not tried."""
    wanted = [prompt for prompt in prompts if not admission.full(prompt.example)]
    seen = policy.look(wanted or [filler])  # all processes look
    tried = attempt(seen if wanted else [], seen[0])
    found = {outcome.example.place: outcome for outcome in tried}
    read = {prompt.example.place for prompt in prompts}
    return [
        found.get(face.place) or Outcome(face, face, reasons=(("quota" if face.place in read else "unreadable",),))
        for face in faces
    ]


def _admitted(outcome: Outcome, admission: Admission) -> Outcome:
    """The outcome, without its analysis if the set does not take it."""
    if outcome.answer is None:
        return outcome
    entry = Admitted(outcome.judged.labels, outcome.judged.present, outcome.answer.text)
    refused = admission.refusal(entry, outcome.judged)
    if refused:
        return outcome._replace(answer=None, reasons=(*outcome.reasons, (refused,)))
    admission.add(entry)
    return outcome
