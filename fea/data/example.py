"""`Example`: one face with what is known of it.

Unknown is not absent. `aus` is None when nobody coded Action Units; an empty set means that somebody looked and found none.
Outside `coded` nothing is known. `labels` is empty when the emotion is unknown; of several labels any is right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from fea.facs import au_number, mirrored, mirrored_number
from fea.prompts.answer import Form
from fea.prompts.numbers import Number


class Rejected(NamedTuple):
    """What is to be less likely in a preference pair than what stands in the example itself; None for each part that is not.

    Attributes:
        description: text about the same face.
        image: path of a picture that the example's text is not about.
        question: that the example's text does not answer.
    """

    description: str | None = None
    image: str | None = None
    question: str | None = None


_SIDE = re.compile(r"\b(?:left|right|(?:AU\s?)?[LR]\d|AU\s?\d+[LR]|AU\s?(?:5[1256]|6[12])\b)", re.IGNORECASE)


class Example(NamedTuple):
    """One face with what is known of it.

    A smile: AU4 is known to be absent, and nobody looked for AU7.

    >>> smile = Example(
    ...     id="1", dataset="mine", image="faces/1.jpg", place="train.jsonl:1", question="",
    ...     aus=frozenset({"AU6", "AUL12"}), coded=frozenset({4, 6, 12}), labels=("happiness",),
    ...     emotions=("anger", "happiness"), analysis=None, intensities={"AU6": 3}, valence=None, arousal=None, meta="{}",
    ... )
    >>> sorted(smile.present), 7 in smile.coded, smile.mirror().aus == {"AU6", "AUR12"}
    ([6, 12], False, True)

    Attributes:
        id: unique within its file; sampling noise is drawn from it.
        dataset: name of the data set it comes from.
        image: path of the image file.
        place: file and line of its record, for messages.
        question: what is asked; "" for the default question.
        aus: canonical codes of the present units ("AU12", sided "AUL12"), or None if unknown.
        coded: FACS numbers that were looked for.
        labels: accepted emotions, canonical; empty if unknown.
        emotions: the allowed answers.
        analysis: the reference text with its think and answer blocks, or None.
        intensities: grades by code, 0 to 5.
        valence: pleasantness in [-1, 1], or None.
        arousal: activation in [-1, 1], or None.
        meta: free-form information as JSON.
        flipped: the image is to be shown mirrored.
        form: of the answer that is to be asked for; None: that of the policy.
        rejected: what makes a preference pair of it, or None.
    """

    id: str
    dataset: str
    image: str
    place: str
    question: str
    aus: frozenset[str] | None
    coded: frozenset[int]
    labels: tuple[str, ...]
    emotions: tuple[str, ...]
    analysis: str | None
    intensities: Mapping[str, float]
    valence: float | None
    arousal: float | None
    meta: str
    flipped: bool = False
    form: Form | None = None
    rejected: Rejected | None = None

    @property
    def present(self) -> frozenset[int]:
        """FACS numbers of the present units, sides dropped; empty if unknown (ask `coded` first)."""
        return frozenset(map(au_number, self.aus or ()))

    @property
    def grades(self) -> dict[int, float]:
        """Intensities by FACS number, 0 to 5; of two sides the stronger one.

        What was looked for and is not there is 0, where the units that are there are graded.
        """
        known: dict[int, float] = {}
        for code, grade in self.intensities.items():
            known[au_number(code)] = max(grade, known.get(au_number(code), 0.0))
        if self.aus is not None and self.present <= known.keys():
            known = dict.fromkeys(self.coded - self.present, 0.0) | known
        return known

    @property
    def affect(self) -> dict[Number, float]:
        """Valence and arousal by name, as far as they are known."""
        told: dict[Number, float | None] = {"valence": self.valence, "arousal": self.arousal}
        return {name: value for name, value in told.items() if value is not None}

    def mirror(self) -> Example:
        """The same face seen in a mirror: sided units change sides, the image is flipped when it is read.

        A face whose question or analysis speaks of left and right is returned as it is: words cannot be mirrored safely.
        """
        texts = (self.question, self.analysis, *(self.rejected or ()))
        if any(_SIDE.search(text) for text in texts if text):
            return self
        return self._replace(
            aus=None if self.aus is None else frozenset(map(mirrored, self.aus)),
            coded=frozenset(map(mirrored_number, self.coded)),
            intensities={mirrored(code): grade for code, grade in self.intensities.items()},
            flipped=not self.flipped,
        )


# Who is shown where there is no face.
NOBODY = Example(
    id="", dataset="", image="", place="", question="", aus=None, coded=frozenset(), labels=(), emotions=(), analysis=None,
    intensities={}, valence=None, arousal=None, meta="{}",
)  # fmt: skip
