"""What is earned without looking: by the majority answer, and by the best answer that ignores the face.

Both know the shares of the labels that they are scored on, and are given to every face of a fold:

    majority  the most frequent emotion, and each unit that more than half of the faces show
    blind     for each score the most that answers can earn which do not depend on the face

For macro F1 that is to claim every unit: F1 of a unit of share p is then 2 p / (1 + p), and less at any other rate. For the
macro F1 of emotions it is to draw each one as often as it is a label: with q the rate of an answer F1 is 2 p q / (p + q), whose
mean over classes is largest at q = p, where it is 1 / E.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fea.evaluation.counts import NUMBERS, AUCounts, Floats, au_scores, pooled
from fea.evaluation.numbers import mean_known
from fea.protocols.measuring import Rows, by_fold

_AU = ("au_f1", "au_uar", "au_micro_f1", "au_precision", "au_recall", "invented")  # that follow from claims alone


def baselines(rows: Rows) -> dict[str, dict[str, float]]:
    """Scores by the name of the baseline, means of the folds like those of answers."""
    found: dict[str, list[dict[str, float]]] = {"majority": [], "blind": []}
    for _, taken in by_fold(rows):
        units, words = pooled(rows.aus, taken), pooled(rows.emotions, taken).confusion[0].sum(axis=1)
        majority, blind = _units(units, rows.units)
        found["majority"].append(majority | _majority_emotion(words))
        found["blind"].append(blind | _blind_emotion(words))
    return {name: _mean(folds) for name, folds in found.items()}


def _units(sums: AUCounts, units: tuple[int, ...]) -> tuple[dict[str, float], dict[str, float]]:
    """Scores of claiming what most faces show; the best scores of claiming the most frequent units, one more at a time."""
    if not sums.answers[0]:
        return {}, {}
    present, coded = sums.present[0], sums.coded[0]
    share = present / np.maximum(coded, 1)
    ordered = sorted(units, key=lambda unit: -share[unit])
    counted = np.zeros(NUMBERS, dtype=bool)
    counted[list(units)] = True
    majority = _claiming(sums, share > 0.5, counted)
    tried = [_claiming(sums, np.isin(np.arange(NUMBERS), ordered[: n + 1]), counted) for n in range(len(ordered))]
    best = {name: max(scores[name] for scores in tried) for name in ("au_f1", "au_micro_f1")} if tried else {}
    return majority, best


def _claiming(sums: AUCounts, claimed: NDArray[np.bool_], counted: NDArray[np.bool_]) -> dict[str, float]:
    counts = sums._replace(hits=sums.present * claimed, claimed=sums.coded * claimed)
    return {name: float(values[0]) for name, values in au_scores(counts, counted).items() if name in _AU}


def _majority_emotion(labels: Floats) -> dict[str, float]:
    total = labels.sum()
    if not total:
        return {}
    share, classes = float(labels.max() / total), int((labels > 0).sum())
    return {"accuracy": share, "emotion_f1": 2 * share / (1 + share) / classes, "emotion_uar": 1 / classes}


def _blind_emotion(labels: Floats) -> dict[str, float]:
    total = labels.sum()
    if not total:
        return {}
    classes = int((labels > 0).sum())
    return {"accuracy": float(labels.max() / total), "emotion_f1": 1 / classes, "emotion_uar": 1 / classes}


def _mean(folds: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for scores in folds for name in scores)
    return {name: float(mean_known(np.array([s[name] for s in folds if name in s]))) for name in names}
