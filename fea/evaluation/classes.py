"""Numbers of each class by itself: how well it is told, and how often it is told against how often it is there.

A class is an emotion or an Action Unit. One that a policy has forgotten has recall 0, and is told less often than it is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fea.evaluation.counts import AUCounts, EmotionCounts, Floats, f1, recall


def unit_scores(sums: AUCounts) -> dict[str, float]:
    """How well each unit is named.

    Args:
        sums: one sum of counts.

    Returns:
        f1/AU12: F1 of unit 12, of every unit that is there or claimed.
        recall/AU12: its recall, of every unit that is there.
    """
    names = [f"AU{number}" for number in range(len(sums.hits))]
    return dict(_scores(names, sums.hits, sums.claimed, sums.present))


def emotion_class_scores(sums: EmotionCounts, emotions: Sequence[str]) -> dict[str, float]:
    """How well each emotion is answered.

    Args:
        sums: one sum of counts.
        emotions: the names of the columns.

    Returns:
        f1/WORD: F1 of an emotion, of every one that is a label or an answer about a labeled face.
        recall/WORD: its recall, of every one that is a label.
    """
    hits, claimed = np.diagonal(sums.confusion), sums.confusion.sum(axis=0)[:-1]
    return dict(_scores(emotions, hits, claimed, sums.confusion.sum(axis=1)))


def unit_shares(sums: AUCounts) -> dict[str, float]:
    """How often each unit is claimed and how often it is there, of every unit that was coded.

    Args:
        sums: one sum of counts.

    Returns:
        claims/AU12: share of the answers about faces on which unit 12 was coded that claim it.
        present/AU12: share of the same answers whose face shows it.
    """
    numbers = np.flatnonzero(sums.coded)
    claims = {f"claims/AU{n}": float(sums.claimed[n] / sums.coded[n]) for n in numbers}
    return claims | {f"present/AU{n}": float(sums.present[n] / sums.coded[n]) for n in numbers}


def emotion_shares(sums: EmotionCounts, emotions: Sequence[str]) -> dict[str, float]:
    """How often each emotion is a label; `counts.emotion_scores` says how often it is answered.

    Args:
        sums: one sum of counts.
        emotions: the names of the columns.

    Returns:
        labels/WORD: share of the answers about labeled faces whose face is labeled WORD; empty if no face is labeled.
    """
    labels = sums.confusion.sum(axis=1)
    labeled = float(labels.sum())
    return {f"labels/{word}": float(count) / labeled for word, count in zip(emotions, labels, strict=True) if labeled}


def _scores(names: Sequence[str], hits: Floats, claimed: Floats, present: Floats) -> Iterator[tuple[str, float]]:
    scores, recalls = f1(hits, claimed, present), recall(hits, present)
    yield from ((f"f1/{names[n]}", float(scores[n])) for n in np.flatnonzero(claimed + present).tolist())
    yield from ((f"recall/{names[n]}", float(recalls[n])) for n in np.flatnonzero(present).tolist())
