"""Files of answers and a file of labels in, scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fea.data.example import Example
from fea.datasets.conversion import Source
from fea.errors import FEAError
from fea.protocols.cases import Case
from fea.protocols.fitting import Fitted, fitted
from fea.protocols.foreign import Said, said_in
from fea.protocols.known import Protocol
from fea.protocols.matching import NO_ANSWER, matched
from fea.protocols.reading import cases_of
from fea.protocols.scored import Scored
from fea.protocols.scoring import score


class Answered(NamedTuple):
    """The faces that a protocol judges, with what files say of them.

    Attributes:
        protocol: by which they are scored.
        faces: that it judges.
        answers: by the place of a face, what was said of it.
        unmatched: by reason, names of what is not judged, or counts as wrong for it.
        files: that the answers come from.
    """

    protocol: Protocol
    faces: Fitted
    answers: Mapping[str, Said]
    unmatched: Mapping[str, Sequence[str]]
    files: tuple[str, ...]

    def scored(self, lenient: bool, draws: int, seed: int) -> tuple[Scored, list[Case]]:
        """Their scores, and the cases that these are made of.

        Args:
            lenient: how texts are read.
            draws: of the bootstrap; 0 for no intervals.
            seed: of the draws.
        """
        cases, doubtful = cases_of(self.protocol, self.faces, self.answers, lenient)
        unmatched = {**self.unmatched, **doubtful}
        model = {"answers": list(self.files)}
        return score(cases, self.protocol, self.faces, unmatched, lenient, model, draws, seed), cases


def answered(protocol: Protocol, examples: Sequence[Example], files: Sequence[Path], source: Source) -> Answered:
    """Reads answers that lie in files, and gives each to its face.

    Args:
        protocol: by which they are scored.
        examples: the faces that they are about.
        files: with answers, taken together.
        source: how tables are to be read.

    Raises:
        FEAError: a file cannot be read, the labels do not fit the protocol, or no answer is about one of the faces.
    """
    faces = fitted(protocol, examples)
    found = matched((one for file in files for one in said_in(file, source)), examples)
    if not found.answers:
        told = "; ".join(f"{len(names)} x {reason}, such as {names[0]}" for reason, names in found.unmatched.items())
        raise FEAError(f"no answer in '{files[0]}' belongs to a face of the labels: {told or 'it is empty'}")
    answers = {examples[number].place: one for number, one in found.answers.items()}
    missing = [truth.example.id for truth in faces.truths if truth.example.place not in answers]
    return Answered(protocol, faces, answers, {**found.unmatched, NO_ANSWER: missing}, tuple(map(str, files)))
