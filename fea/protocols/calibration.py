"""Whether the votes of sampled answers tell how often an answer is right.

Of the answers that most samples agree with more should be right: in a calibrated model, of those with a share of 0.8 eight of
ten. The gap is the expected calibration error (Naeini, Cooper & Hauskrecht, AAAI 2015): the mean of |share that is right - mean
vote| over bins, by their faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fea.evaluation.scores import emotion_match
from fea.protocols.cases import Case

_BINS = 5  # of equal width: samples are few, and ten bins would be empty every other one


class Bin(NamedTuple):
    """Faces whose votes lie within a range.

    Attributes:
        low: of the range.
        high: of the range; the vote is below it, and in the last bin at most.
        faces: in it.
        vote: their mean vote; 0 for none.
        right: the share of them whose emotion is right; 0 for none.
    """

    low: float
    high: float
    faces: int
    vote: float
    right: float


def bins_of(cases: Sequence[Case]) -> list[Bin]:
    """The bins, of the faces with votes and a known emotion; none if there is no such face."""
    matches = [(case.votes, emotion_match(case.answer, case.example)) for case in cases if "emotion" in case.says]
    known = np.array([(vote, right) for vote, right in matches if vote is not None and right is not None]).reshape(
        -1, 2
    )
    if not len(known):
        return []
    edges = np.linspace(0, 1, _BINS + 1)
    places = np.minimum(np.floor(known[:, 0] * _BINS).astype(int), _BINS - 1)
    return [_bin(float(edges[n]), float(edges[n + 1]), known[places == n]) for n in range(_BINS)]


def _bin(low: float, high: float, inside: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Bin:
    vote, right = inside.mean(axis=0).tolist() if len(inside) else (0.0, 0.0)
    return Bin(low, high, len(inside), vote, right)


def calibration_of(cases: Sequence[Case]) -> dict[str, Any]:
    """The bins and the gap as plain values; empty without votes."""
    bins = bins_of(cases)
    return {"error": calibration_error(bins), "bins": [one._asdict() for one in bins]} if bins else {}


def calibration_error(bins: Sequence[Bin]) -> float:
    """The mean gap, in [0, 1]; NaN without a face."""
    faces = sum(one.faces for one in bins)
    return sum(one.faces * abs(one.right - one.vote) for one in bins) / faces if faces else float("nan")
