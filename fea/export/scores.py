"""The scores of a card: overall, and of each Action Unit and each emotion with its support."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fea.evaluation.counts import (
    AUCounts,
    EmotionCounts,
    au_scores,
    count_aus,
    count_emotions,
    emotion_scores,
    f1,
    pooled,
    recall,
)
from fea.facs import ACTION_UNITS
from fea.reports.tables import markdown
from fea.rollouts.rollout import Rollout

_OVERALL = (
    "au_f1",
    "au_uar",
    "au_micro_f1",
    "invented",
    "accuracy",
    "emotion_f1",
    "emotion_uar",
    "format",
    "alignment",
)
_HEADS = ("F1", "recall", "support")


def scores_of(rollouts: Sequence[Rollout], emotions: Sequence[str], faces: str) -> Iterator[str]:
    """Lines of Markdown about greedy answers.

    Args:
        rollouts: with one answer to each prompt.
        emotions: the allowed ones.
        faces: that they are about, in words.
    """
    examples = [prompt.example for rollout in rollouts for prompt in rollout.prompts]
    answers = [[answer] for rollout in rollouts for answer in rollout.answers]
    words = list(dict.fromkeys([*emotions, *(label for example in examples for label in example.labels)]))
    units, told = pooled(count_aus(examples, answers)), pooled(count_emotions(examples, answers, words))
    overall = {**au_scores(units), **emotion_scores(told, words)}
    yield f"## Scores\n\nGreedy answers of the run about {faces}. Support: faces that show it.\n"
    named = [name for name in _OVERALL if name in overall]
    yield markdown(["score", "value"], [[name, f"{float(overall[name]):.3f}"] for name in named])
    for head, rows in (("Action Unit", _of_units(units)), ("emotion", _of_emotions(told, words))):
        if found := list(rows):
            yield "\n" + markdown([head, *_HEADS], found)
    yield ""


def _of_units(sums: AUCounts) -> Iterator[list[str]]:
    scores, recalls = f1(sums.hits, sums.claimed, sums.present), recall(sums.hits, sums.present)
    for number in np.flatnonzero(sums.claimed + sums.present).tolist():
        title = f"AU{number} {ACTION_UNITS[number].name}" if number in ACTION_UNITS else f"AU{number}"
        yield _row(title, scores[number], recalls[number], sums.present[number])


def _of_emotions(sums: EmotionCounts, emotions: Sequence[str]) -> Iterator[list[str]]:
    hits, claimed, present = np.diagonal(sums.confusion), sums.confusion.sum(axis=0)[:-1], sums.confusion.sum(axis=1)
    scores, recalls = f1(hits, claimed, present), recall(hits, present)
    for number in np.flatnonzero(claimed + present).tolist():
        yield _row(emotions[number], scores[number], recalls[number], present[number])


def _row(title: str, score: float, share: float, support: float) -> list[str]:
    return [title, f"{score:.3f}", f"{share:.3f}" if support else "", str(int(support))]
