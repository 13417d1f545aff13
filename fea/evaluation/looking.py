"""Do answers depend on the face that they are about?

A policy can earn much without looking: with the units that are common, the emotion that is frequent, in the right form. So its
answers are scored about their own faces, and about all others of the same data set, as if they had been dealt out anew. An
answer that ignores the face is worth the same everywhere. What a policy gains in place, over what the labels themselves would
gain, is how far it looks: 0 for one that does not, 1 for one that is always right.

F faces, N answers, U FACS numbers, W words for emotions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fea.data.example import Example
from fea.evaluation.counts import NUMBERS, Floats
from fea.evaluation.scores import has_thinking
from fea.prompts.answer import Answer

_FACES = 256  # that are compared with each other: enough to tell 0.02 from nothing, and 0.1 s of work
_FEWEST = 20  # faces: of fewer the doubt itself is in doubt


class Said(NamedTuple):
    """What is known of a face, and what was said about it; plain values, which a checkpoint can hold.

    Attributes:
        dataset: that the face is from.
        present: FACS numbers of the units that are there.
        coded: of those that were looked for.
        labels: accepted emotions.
        claimed: by answer, FACS numbers.
        thinking: by answer, whether it has a think block, without which its claims are worth nothing.
        emotions: by answer; "" for none.
        units: whether units were asked for.
    """

    dataset: str
    present: list[int]
    coded: list[int]
    labels: list[str]
    claimed: list[list[int]]
    thinking: list[bool]
    emotions: list[str]
    units: bool = True


class Look(NamedTuple):
    """What answers earn by looking; scores are means over answers, in [0, 1].

    Attributes:
        here: about their own faces.
        elsewhere: about other faces.
        constant: at most, for one answer to all of these faces.
        gain: of the labels as answers, here less elsewhere.
        error: standard deviation of `here` if the answers were dealt out at random.
    """

    here: float
    elsewhere: float
    constant: float
    gain: float
    error: float

    @property
    def share(self) -> float:
        """Of what looking can earn, how much it does: 0 without looking, 1 if all is right."""
        return (self.here - self.elsewhere) / self.gain

    @property
    def doubt(self) -> float:
        """Standard deviation of this share."""
        return self.error / self.gain


def said(example: Example, answers: Sequence[Answer]) -> Said:
    """What was said about a face."""
    return Said(
        dataset=example.dataset,
        present=sorted(example.present),
        coded=sorted(example.coded),
        labels=list(example.labels),
        claimed=[sorted(answer.aus) for answer in answers],
        thinking=[has_thinking(answer) for answer in answers],
        emotions=[answer.emotion or "" for answer in answers],
        units=not any(answer.form == "only" for answer in answers),
    )


def claims(faces: Sequence[Said]) -> Look | None:
    """How far the claimed units depend on the face, by their F1; None if looking could gain nothing, or of few faces."""
    return _together([_claims(group) for group in _groups([face for face in faces if face.coded and face.units])])


def emotions(faces: Sequence[Said]) -> Look | None:
    """How far the answered emotions depend on the face, by their accuracy; None as for `claims`."""
    return _together([_emotions(group) for group in _groups([face for face in faces if face.labels])])


def _claims(faces: Sequence[Said]) -> tuple[int, Look]:
    present_FU, coded_FU = _units([face.present for face in faces]), _units([face.coded for face in faces])

    def f1(claimed_NU: Floats) -> Floats:
        """(F, N) of each claimed set about each face."""
        hits, claimed = present_FU @ claimed_NU.T, coded_FU @ claimed_NU.T
        both = claimed + present_FU.sum(axis=1, keepdims=True)
        return np.where(both > 0, 2 * hits / np.maximum(both, 1), 1.0)

    claimed_NU = _units([units for face in faces for units in face.claimed])
    thinking_N = np.array([thinks for face in faces for thinks in face.thinking])
    constant, chosen_U, left = float(f1(np.zeros((1, NUMBERS))).mean()), np.zeros(NUMBERS), present_FU.any(axis=0)
    while left.any():  # the best set of each size is that of the size below with the unit that adds most
        sets_NU = np.maximum(chosen_U, np.eye(NUMBERS)[left])
        earned_N = f1(sets_NU).mean(axis=0)
        chosen_U = sets_NU[earned_N.argmax()]
        constant, left = max(constant, float(earned_N.max())), left & (chosen_U == 0)
    return len(faces), _look(f1(claimed_NU) * thinking_N, f1(present_FU), constant)


def _emotions(faces: Sequence[Said]) -> tuple[int, Look]:
    words = sorted({label for face in faces for label in face.labels})
    right_FW = np.array([[word in face.labels for word in words] for face in faces], dtype=float)
    said_NW = np.array(
        [[word == emotion for word in words] for face in faces for emotion in face.emotions], dtype=float
    )
    truth_FW = np.array([[word == face.labels[0] for word in words] for face in faces], dtype=float)
    return len(faces), _look(right_FW @ said_NW.T, right_FW @ truth_FW.T, float(right_FW.mean(axis=0).max()))


def _look(scores_FN: Floats, truth_FF: Floats, constant: float) -> Look:
    """From the scores of all answers, and of all labels, about all faces."""
    faces = len(scores_FN)
    scores_FF = scores_FN.reshape(faces, faces, -1).mean(axis=2)
    (here, elsewhere), (best, by_chance) = _means(scores_FF), _means(truth_FF)
    # The variance of the mean of M[i, p(i)] over all permutations p is that of M, centered in rows and columns.
    centered_FF = scores_FF - scores_FF.mean(axis=0) - scores_FF.mean(axis=1, keepdims=True) + scores_FF.mean()
    error = math.sqrt(float((centered_FF**2).sum()) / (faces - 1)) / faces
    return Look(here, elsewhere, constant, best - by_chance, error)


def _means(scores_FF: Floats) -> tuple[float, float]:
    """On the diagonal, and off it."""
    faces, own = len(scores_FF), float(np.trace(scores_FF))
    return own / faces, (float(scores_FF.sum()) - own) / (faces * (faces - 1))


def _groups(faces: Sequence[Said]) -> list[list[Said]]:
    """The faces of each data set, of which there are two at least: its questions and its units may give it away."""
    taken = faces[:: math.ceil(len(faces) / _FACES) or 1]
    groups = [[face for face in taken if face.dataset == name] for name in dict.fromkeys(f.dataset for f in taken)]
    return [group for group in groups if len(group) > 1]


def _together(looks: Sequence[tuple[int, Look]]) -> Look | None:
    """Means over the faces of all data sets."""
    total = sum(faces for faces, _ in looks)
    if total < _FEWEST:
        return None
    here, elsewhere, constant, gain = (sum(faces * look[n] for faces, look in looks) / total for n in range(4))
    error = math.sqrt(sum((faces * look.error) ** 2 for faces, look in looks)) / total
    return Look(here, elsewhere, constant, gain, error) if gain > 0 else None


def _units(numbers: Sequence[Sequence[int]]) -> Floats:
    """(N, U) 1 for the units of each list."""
    units = np.zeros((len(numbers), NUMBERS))
    for row, listed in enumerate(numbers):
        units[row, list(listed)] = 1
    return units
