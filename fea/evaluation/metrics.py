"""The reported numbers as metrics of torchmetrics: their states are sums of counts, which processes add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from fea.data.example import Example
from fea.evaluation.classes import emotion_class_scores, emotion_shares, unit_scores, unit_shares
from fea.evaluation.counts import (
    NUMBERS,
    AUCounts,
    Counts,
    EmotionCounts,
    Floats,
    au_scores,
    count_aus,
    count_emotions,
    emotion_scores,
    pooled,
)
from fea.evaluation.dimensional import Moments
from fea.evaluation.numbers import NumberSums, number_scores, number_sums, pooled_numbers
from fea.prompts.answer import Answer


class AUScores(Metric):
    """How well Action Units are named; the numbers are those of `counts.au_scores`.

    The states are the sums of `AUCounts`, under its names.
    """

    def __init__(self) -> None:
        super().__init__()
        for name in ("hits", "claimed", "present", "coded"):
            self.add_state(name, torch.zeros(NUMBERS), dist_reduce_fx="sum")
        for name in ("exact", "uncoded", "answers"):
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, answers: Sequence[Answer], examples: Sequence[Example]) -> None:
        """Counts answers, each with its example."""
        _add(self, pooled(count_aus(examples, [[answer] for answer in answers])))

    def compute(self) -> dict[str, Tensor]:
        """The numbers by name; empty if no unit was coded."""
        return _tensors(au_scores(_sums(self, AUCounts)), self)

    def shares(self) -> dict[str, Tensor]:
        """How often each unit is claimed and how often it is there, as `classes.unit_shares`; over all processes."""
        with self.sync_context(self.dist_sync_fn):
            return _tensors(unit_shares(_sums(self, AUCounts)), self)

    def per_class(self) -> dict[str, Tensor]:
        """How well each unit is named, as `classes.unit_scores`; over all processes."""
        with self.sync_context(self.dist_sync_fn):
            return _tensors(unit_scores(_sums(self, AUCounts)), self)


class NumberScores(Metric):
    """How near numbers beside words are; what it gives is `numbers.number_scores`.

    The state is (fields of `Moments`, 2 + N) sums of valence, arousal and grades. They are whole numbers: values are taken in
    hundred-thousandths, so that sums are exact on every device, whatever processes they are split among. 64 bits hold those of
    30 million faces.
    """

    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(len(_UNITS), 2 + NUMBERS, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, answers: Sequence[Answer], examples: Sequence[Example]) -> None:
        """Adds answers, each with its example."""
        sums = pooled_numbers(number_sums(examples, [[answer] for answer in answers]))
        columns = [np.concatenate(pair) for pair in zip(*sums, strict=True)]
        whole = np.rint(np.stack(columns) * np.array(_UNITS)[:, None]).astype(np.int64)
        self.sums += torch.as_tensor(whole, device=self.sums.device)

    def compute(self) -> dict[str, Tensor]:
        """The numbers by name; those that no answer or no example speaks of are left out."""
        rows = self.sums.cpu().double().numpy() / np.array(_UNITS)[:, None]
        affect, grades = (Moments(*(row[part] for row in rows)) for part in (slice(2), slice(2, None)))
        return _tensors(number_scores(NumberSums(affect, grades)), self)


class EmotionScores(Metric):
    """How well the emotion is answered, and in which form; the numbers are those of `counts.emotion_scores`.

    The states are the sums of `EmotionCounts`, under its names.

    Args:
        emotions: the allowed emotions; every other answer counts as the one class "other".
    """

    confusion: Tensor

    def __init__(self, emotions: Sequence[str]) -> None:
        super().__init__()
        self.emotions = tuple(emotions)
        self.add_state("confusion", torch.zeros(len(emotions), len(emotions) + 1), dist_reduce_fx="sum")
        self.add_state("said", torch.zeros(len(emotions) + 1), dist_reduce_fx="sum")
        for name in ("formatted", "aligned", "readable", "total"):
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, answers: Sequence[Answer], examples: Sequence[Example]) -> None:
        """Counts answers, each with its example."""
        _add(self, pooled(count_emotions(examples, [[answer] for answer in answers], self.emotions)))

    def compute(self) -> dict[str, Tensor]:
        """The numbers by name; those that no example speaks about are left out."""
        return _tensors(emotion_scores(_sums(self, EmotionCounts), self.emotions), self)

    def shares(self) -> dict[str, Tensor]:
        """How often each emotion is a label, as `classes.emotion_shares`; over all processes."""
        with self.sync_context(self.dist_sync_fn):
            return _tensors(emotion_shares(_sums(self, EmotionCounts), self.emotions), self)

    def per_class(self) -> dict[str, Tensor]:
        """How well each emotion is answered, as `classes.emotion_class_scores`; over all processes."""
        with self.sync_context(self.dist_sync_fn):
            return _tensors(emotion_class_scores(_sums(self, EmotionCounts), self.emotions), self)


# Of a sum of numbers, of their squares, and of counts.
_OF_FIELD = {"n": 1, "agree": 1, "xx": 10**10, "yy": 10**10, "xy": 10**10}
_UNITS = [float(_OF_FIELD.get(name, 10**5)) for name in Moments._fields]


def _add(metric: Metric, sums: AUCounts | EmotionCounts) -> None:
    for name, value in sums._asdict().items():
        state = getattr(metric, name)
        state += torch.as_tensor(value, dtype=state.dtype, device=state.device)


def _sums(metric: Metric, kind: type[Counts]) -> Counts:
    # Doubles are made on the CPU: not every device has them.
    return kind(*(getattr(metric, name).cpu().double().numpy() for name in kind._fields))


def _tensors(scores: Mapping[str, Floats | float], metric: Metric) -> dict[str, Tensor]:
    """Numbers as tensors where the sums lie, so that Lightning can reduce them there; in one copy."""
    values = torch.tensor([float(value) for value in scores.values()], dtype=torch.float32, device=metric.device)
    return dict(zip(scores, values.unbind(), strict=True))
