"""The reported numbers, apart from the rewards.

Only coded units are judged, and only known emotions; an answer that cannot be read counts as wrong, it is never dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from fea.data.example import Example
from fea.facs import nearest_emotions
from fea.prompts.answer import Answer

_NUMBERS = 100  # FACS numbers have at most two digits


class AUScores(Metric):
    """How well Action Units are named.

    `compute` returns:
        au_f1: macro F1, the mean over units that occur in the labels (the field's headline number).
        au_micro_f1, au_precision, au_recall: over all decisions together.
        au_exact: share of answers whose claimed set is exactly the present one.
        invented: claimed units that are not there, per answer.
        uncoded: claimed units that nobody coded, per answer; not judged, but watched.
    """

    hits: Tensor
    claimed: Tensor
    present: Tensor
    exact: Tensor
    uncoded: Tensor
    answers: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("hits", "claimed", "present"):
            self.add_state(name, torch.zeros(_NUMBERS), dist_reduce_fx="sum")
        for name in ("exact", "uncoded", "answers"):
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, answers: Sequence[Answer], examples: Sequence[Example]) -> None:
        """Counts answers, each with its example."""
        for answer, example in zip(answers, examples, strict=True):
            if example.coded:
                claimed = answer.aus & example.coded
                self.hits += _marks(claimed & example.present, self.hits)
                self.claimed += _marks(claimed, self.hits)
                self.present += _marks(example.present, self.hits)
                self.exact += claimed == example.present and bool((answer.think or "").strip())
                self.uncoded += len(answer.aus - example.coded)
                self.answers += 1

    def compute(self) -> dict[str, Tensor]:
        """The numbers by name; empty if no unit was coded."""
        if not self.answers:
            return {}
        f1 = _f1(self.hits, self.claimed, self.present)
        return {
            "au_f1": f1.sum() / (self.present > 0).sum().clamp(min=1),  # units that never occur have an F1 of 0
            "au_micro_f1": _f1(self.hits.sum(), self.claimed.sum(), self.present.sum()),
            "au_precision": self.hits.sum() / self.claimed.sum().clamp(min=1),
            "au_recall": self.hits.sum() / self.present.sum().clamp(min=1),
            "au_exact": self.exact / self.answers,
            "invented": (self.claimed - self.hits).sum() / self.answers,
            "uncoded": self.uncoded / self.answers,
        }

    def per_au(self) -> dict[int, tuple[float, int]]:
        """F1 and support of every unit that was present or claimed, by FACS number."""
        f1 = _f1(self.hits, self.claimed, self.present)
        seen = ((self.present + self.claimed) > 0).nonzero()[:, 0].tolist()
        return {number: (float(f1[number]), int(self.present[number])) for number in seen}


class EmotionScores(Metric):
    """How well the emotion is answered.

    `compute` returns:
        accuracy: share of right answers; of several labels any is right.
        emotion_f1: macro F1 over the emotions that occur in the labels.
        format: share of well-formed answers, over all examples.
        alignment: share of readable answers whose emotion is a nearest prototype of the units they claim.
        answers/WORD: share of answers that say WORD, to see a policy collapse onto one.

    Args:
        emotions: the allowed emotions; every other answer counts as the one class "other".
    """

    confusion: Tensor
    formatted: Tensor
    aligned: Tensor
    readable: Tensor
    total: Tensor

    def __init__(self, emotions: Sequence[str]) -> None:
        super().__init__()
        self.emotions = tuple(emotions)
        self.add_state("confusion", torch.zeros(len(emotions), len(emotions) + 1), dist_reduce_fx="sum")
        self.add_state("said", torch.zeros(len(emotions) + 1), dist_reduce_fx="sum")
        for name in ("formatted", "aligned", "readable", "total"):
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum")

    said: Tensor

    def update(self, answers: Sequence[Answer], examples: Sequence[Example]) -> None:
        """Counts answers, each with its example."""
        for answer, example in zip(answers, examples, strict=True):
            said = self._column(answer.emotion)
            self.total += 1
            self.said[said] += 1
            self.formatted += answer.well_formed
            if answer.emotion in self.emotions and answer.think:
                self.readable += 1
                self.aligned += answer.emotion in nearest_emotions(answer.aus, self.emotions)
            if example.labels:
                label = answer.emotion if answer.emotion in example.labels else example.labels[0]
                self.confusion[self.emotions.index(label), said] += 1

    def _column(self, emotion: str | None) -> int:
        return self.emotions.index(emotion) if emotion in self.emotions else len(self.emotions)

    def compute(self) -> dict[str, Tensor]:
        """The numbers by name; those that no example speaks about are left out."""
        numbers = {}
        if self.confusion.sum():
            hits, present = self.confusion.diagonal(), self.confusion.sum(dim=1)
            f1 = _f1(hits, self.confusion.sum(dim=0)[:-1], present)
            numbers = {"accuracy": hits.sum() / present.sum(), "emotion_f1": f1[present > 0].mean()}
        if self.total:
            numbers |= {"format": self.formatted / self.total, "alignment": self.aligned / self.readable.clamp(min=1)}
            words = [*self.emotions, "other"]
            numbers |= {f"answers/{word}": count / self.total for word, count in zip(words, self.said, strict=True)}
        return numbers


def _marks(numbers: frozenset[int], like: Tensor) -> Tensor:
    marks = torch.zeros_like(like)
    marks[[number for number in numbers if number < _NUMBERS]] = 1
    return marks


def _f1(hits: Tensor, claimed: Tensor, present: Tensor) -> Tensor:
    return 2 * hits / (claimed + present).clamp(min=1)
