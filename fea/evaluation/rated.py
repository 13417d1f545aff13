"""What the ratings of a judge come to: means over faces beside means over emotions, with bootstrap intervals.

A mean over faces hardly sees a rare emotion. The mean over emotions is that of the means of each, so that each counts alike.
Failures are in neither: they are counted apart, with who could not be judged by which criterion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from fea.evaluation.chat import Failure
from fea.evaluation.counts import Floats, macro
from fea.evaluation.judge import CRITERIA, Analysis, Verdict
from fea.evaluation.verdicts import Outcome

_DRAWS = 2000  # as of `intervals.differences`
_MIDDLE = (0.025, 0.975)


def summary(analyses: Sequence[Analysis], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Means and counts of a judgment.

    Args:
        analyses: A of them.
        outcomes: what the judge said of each.

    Returns:
        "faces", "judged", "failed" by kind, "resampled" ("subjects" where all are known, else "faces"), and under "criteria" by
        name: "faces" that were rated by it, "mean", "interval", and where emotions are labeled "emotions" with "faces" and
        "mean" of each, "mean_over_emotions" and its "interval_over_emotions".
    """
    failed = Counter(outcome.kind for outcome in outcomes if isinstance(outcome, Failure))
    subjects = [analysis.subject for analysis in analyses]
    draws = draws_of(subjects)
    return {
        "faces": len(analyses),
        "judged": len(analyses) - failed.total(),
        "failed": dict(sorted(failed.items())),
        "resampled": "subjects" if all(subjects) else "faces",
        "criteria": {
            name: found for name in CRITERIA if (found := _criterion(name, analyses, outcomes, draws)) is not None
        },
    }


def draws_of(subjects: Sequence[str], draws: int = _DRAWS, seed: int = 0) -> Floats:
    """(D, A) how often each is taken in each draw: whole subjects where all are known, else one by one."""
    known = subjects if all(subjects) else [str(number) for number in range(len(subjects))]
    names = {name: number for number, name in enumerate(dict.fromkeys(known))}
    if not names:
        return np.zeros((draws, 0))
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return times[:, [names[name] for name in known]].astype(np.float64)


def _criterion(
    name: str, analyses: Sequence[Analysis], outcomes: Sequence[Outcome], draws: Floats
) -> dict[str, Any] | None:
    scores = np.array([o.scores.get(name, np.nan) if isinstance(o, Verdict) else np.nan for o in outcomes], dtype=float)
    rated = ~np.isnan(scores)
    if not rated.any():
        return None
    found: dict[str, Any] = {
        "faces": int(rated.sum()),
        "mean": float(scores[rated].mean()),
        "interval": _interval(_means(scores[rated], draws[:, rated])),
    }
    first = np.array([next(iter(analysis.labels), "") for analysis in analyses])
    words = sorted(set(first[rated]) - {""})
    if not words:
        return found
    masks = [rated & (first == word) for word in words]
    means = np.stack([_means(scores[mask], draws[:, mask]) for mask in masks], axis=-1)
    per_word = np.array([scores[mask].mean() for mask in masks])
    return found | {
        "emotions": {
            word: {"faces": int(mask.sum()), "mean": float(mean)}
            for word, mask, mean in zip(words, masks, per_word, strict=True)
        },
        "mean_over_emotions": float(per_word.mean()),
        "interval_over_emotions": _interval(macro(means, ~np.isnan(means))),
    }


def _means(scores: Floats, draws: Floats) -> Floats:
    """(D,) the mean of each draw; NaN where none of these faces was drawn."""
    times = draws.sum(axis=1)
    return np.where(times > 0, draws @ scores / np.maximum(times, 1), np.nan)


def _interval(values: Floats) -> list[float]:
    return [float(end) for end in np.nanquantile(values, _MIDDLE)]
