"""Files of answers and a file of labels in, scores out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fea.data.example import Example
from fea.datasets.conversion import Source
from fea.errors import FEAError
from fea.evaluation.cases import Case
from fea.evaluation.fitting import fitted
from fea.evaluation.foreign import said_in
from fea.evaluation.matching import NO_ANSWER, matched
from fea.evaluation.protocols import Protocol
from fea.evaluation.reading import cases_of
from fea.evaluation.scored import Scored
from fea.evaluation.scoring import score


def judged(
    protocol: Protocol,
    examples: Sequence[Example],
    files: Sequence[Path],
    source: Source,
    lenient: bool,
    draws: int,
    seed: int,
) -> tuple[Scored, list[Case]]:
    """Scores answers that lie in files.

    Args:
        protocol: by which they are scored.
        examples: the faces that they are about.
        files: with answers, taken together.
        source: how tables are to be read.
        lenient: how texts are read.
        draws: of the bootstrap; 0 for no intervals.
        seed: of the draws.

    Returns:
        The scores and the cases that they are made of.

    Raises:
        FEAError: a file cannot be read, the labels do not fit the protocol, or no answer is about one of the faces.
    """
    faces = fitted(protocol, examples)
    found = matched((one for file in files for one in said_in(file, source)), examples)
    if not found.answers:
        told = "; ".join(f"{len(names)} x {reason}, such as {names[0]}" for reason, names in found.unmatched.items())
        raise FEAError(f"no answer in '{files[0]}' belongs to a face of the labels: {told or 'it is empty'}")
    answers = {examples[number].id: one for number, one in found.answers.items()}
    unanswered = [truth.example.id for truth in faces.truths if truth.example.id not in answers]
    cases, doubtful = cases_of(protocol, faces, answers, lenient)
    unmatched = {**found.unmatched, NO_ANSWER: unanswered, **doubtful}
    model = {"answers": [str(file) for file in files]}
    return score(cases, protocol, faces, unmatched, lenient, model, draws, seed), cases
