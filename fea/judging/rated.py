"""What the ratings of a judge come to: means over faces beside means over emotions, with bootstrap intervals.

A mean over faces hardly sees a rare emotion. The mean over emotions is that of the means of each, so that each counts alike.
Failures are in neither: they are counted apart, with who could not be judged by which criterion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fea.evaluation.counts import Floats
from fea.evaluation.numbers import mean_known
from fea.judging.chat import Failure
from fea.judging.judge import CRITERIA, Analysis, Verdict
from fea.judging.verdicts import Outcome
from fea.protocols.measuring import middle, resampled
from fea.protocols.scoring import DRAWS


def summary(
    analyses: Sequence[Analysis], outcomes: Sequence[Outcome], draws: int = DRAWS, seed: int = 0
) -> dict[str, Any]:
    """Means and counts of a judgment.

    Args:
        analyses: A of them.
        outcomes: what the judge said of each.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        "faces", "judged", "failed" by kind, "resampled" ("subjects" where all are known, else "faces"), and under "criteria" by
        name: "faces" that were rated by it, "mean", "interval", and where emotions are labeled "emotions" with "faces" and
        "mean" of each, "mean_over_emotions" and its "interval_over_emotions".
    """
    failed = Counter(outcome.kind for outcome in outcomes if isinstance(outcome, Failure))
    people = {analysis.subject for analysis in analyses}
    by_people = "" not in people and len(people) > 1
    rows = {key: n for n, key in enumerate(sorted(people) if by_people else range(len(analyses)))}
    row_A = np.array([rows[one.subject if by_people else n] for n, one in enumerate(analyses)], dtype=np.int64)
    found = {name: _criterion(name, analyses, outcomes, row_A, draws, seed) for name in CRITERIA}
    return {
        "faces": len(analyses),
        "judged": len(analyses) - failed.total(),
        "failed": dict(sorted(failed.items())),
        "resampled": "subjects" if by_people else "faces",
        "criteria": {name: numbers for name, numbers in found.items() if numbers},
    }


def _criterion(
    name: str,
    analyses: Sequence[Analysis],
    outcomes: Sequence[Outcome],
    row_A: NDArray[np.int64],
    draws: int,
    seed: int,
) -> dict[str, Any]:
    scores_A = np.array(
        [o.scores.get(name, np.nan) if isinstance(o, Verdict) else np.nan for o in outcomes], dtype=float
    )
    rated_A = ~np.isnan(scores_A)
    if not rated_A.any():
        return {}
    label_A = np.array([next(iter(analysis.labels), "") for analysis in analyses])
    words = sorted(set(label_A[rated_A].tolist()) - {""})
    kinds = np.stack(
        [rated_A, *(rated_A & (label_A == word) for word in words)], axis=1
    )  # all of them, then each emotion
    sums = np.zeros((int(row_A.max()) + 1, len(words) + 1, 2))  # of scores, and how many
    np.add.at(sums, row_A, np.stack([kinds * np.nan_to_num(scores_A)[:, None], kinds], axis=-1))
    one_row = np.zeros(len(sums), dtype=np.int64)  # there are no folds
    drawn = np.concatenate([_means(np.tensordot(times, sums, axes=1)) for times in resampled(one_row, draws, seed)])
    means, faces = _means(sums.sum(axis=0)), kinds.sum(axis=0)
    found: dict[str, Any] = {"faces": int(faces[0]), "mean": float(means[0]), "interval": middle(drawn[:, 0])}
    if words:
        found["emotions"] = {word: {"faces": int(faces[n]), "mean": float(means[n])} for n, word in enumerate(words, 1)}
        found["mean_over_emotions"] = float(means[1:].mean())
        found["interval_over_emotions"] = middle(mean_known(drawn[:, 1:]))
    return found


def _means(sums: Floats) -> Floats:
    """(...) of (..., 2) sums and how many; NaN where there are none."""
    total, count = sums[..., 0], sums[..., 1]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
