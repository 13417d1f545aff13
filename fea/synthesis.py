"""Stage 3, a round of it: all faces without an analysis, batch by batch, by one process or by several.

for each batch of faces, one a process:
    skip those of which the set has enough
    let the policy try                                       -> outcomes     (fea.attempts)
    admit them in their order, whoever wrote them            -> admitted     (fea.admission)
    append them to the files                                                 (fea.journal)

A batch is the same, and is judged in the same order, for any number of processes; so is what they write.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning.fabric.utilities import move_data_to_device
from tqdm import tqdm

from fea import checkpoints
from fea.admission import Admission, Admitted, Limits
from fea.attempts import Outcome, Recipe, attempted
from fea.data.encoding import Prompt
from fea.data.example import Example
from fea.data.loader import EpochSampler, Loader
from fea.data.table import OnBad
from fea.journal import Journal
from fea.policy import Policy
from fea.processes import count, gathered, rank
from fea.prompts import PROMPT_VERSION
from fea.sampling import Generation


class Pace(NamedTuple):
    """How much at a time.

    Attributes:
        batch_size: faces that the policy writes about together.
        workers: processes that read images ahead.
        minutes: after which no further batch is begun; None for any time.
        on_bad: "raise" at an image that cannot be read, or "skip" the face.
    """

    batch_size: int
    workers: int = 0
    minutes: float | None = None
    on_bad: OnBad = "raise"


def provenance(policy: Policy, recipe: Recipe, round: int) -> dict[str, Any]:
    """What every line says of its origin: round, seed, model, its weights and the prompt. Called on all processes."""
    return {
        "round": round,
        "seed": recipe.seed,
        "base": Path(policy.config.base).name,
        "model": checkpoints.fingerprint(policy.trainable()),
        "prompt": PROMPT_VERSION,
    }


def synthesise(
    policy: Policy,
    examples: Sequence[Example],
    journal: Journal,
    recipe: Recipe,
    generation: Generation,
    pace: Pace,
    between: Callable[[], None] = lambda: None,
) -> None:
    """Goes through faces, from where the journal stands.

    Args:
        policy: in eval mode.
        examples: the faces, the same and in the same order on all processes.
        journal: keeps the outcomes.
        recipe: how analyses are made.
        generation: length limit and temperature.
        pace: how much at a time.
        between: called between batches, on all processes.
    """
    limits = Limits(recipe.quota_emotion, recipe.quota_au, recipe.alike)
    begun, admitted = gathered((journal.batches, journal.admitted()))[0]
    admission, end = Admission(limits, admitted), time.monotonic() + 60 * (pace.minutes or math.inf)
    spare = policy.encoder(examples[0])
    loader = _batches(policy, examples, begun, pace)
    left = math.ceil(len(examples) / pace.batch_size) - begun
    with tqdm(
        total=len(examples), initial=begun * pace.batch_size, unit=" faces", file=sys.stderr, disable=rank() > 0
    ) as progress:
        for _ in range(math.ceil(left / count())):
            if gathered(time.monotonic() > end)[0]:
                break
            prompts = next(loader, [])
            outcomes = _outcomes(policy, prompts, spare, admission, generation, recipe, journal.round)
            for batch in filter(None, gathered(outcomes)):
                journal.add([_admitted(outcome, admission) for outcome in batch])
                progress.update(len(batch))
            between()


def _batches(policy: Policy, examples: Sequence[Example], begun: int, pace: Pace) -> Iterator[list[Prompt]]:
    """The batches of this process: every n-th of those that are left, so that a batch is the same for any n."""
    size = pace.batch_size
    starts = range((begun + rank()) * size, len(examples), count() * size)
    mine = [example for start in starts for example in examples[start : start + size]]
    sampler = EpochSampler(len(mine), shuffle=False)
    return iter(Loader(mine, policy.encoder, sampler, size, pace.workers, pace.on_bad, training=False))


def _outcomes(
    policy: Policy,
    prompts: list[Prompt],
    spare: Prompt,
    admission: Admission,
    generation: Generation,
    recipe: Recipe,
    round: int,
) -> list[Outcome]:
    """What became of a batch; faces of which there are enough are not tried."""
    wanted = [prompt for prompt in prompts if not admission.full(prompt.example)]
    seen = policy.look(move_data_to_device(wanted or [spare], policy.forbidden.device))  # all processes look
    tried = iter(attempted(policy, seen if wanted else [], seen[0], generation, recipe, round))
    return [
        Outcome(prompt.example, prompt.example, reasons=(("quota",),))
        if admission.full(prompt.example)
        else next(tried)
        for prompt in prompts
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
