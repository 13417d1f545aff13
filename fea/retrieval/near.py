"""Faces that are near to one by their labels, and differ in what one says: hard negatives for pairs of preferred and rejected.

Needs no model and no text. What nobody looked for is neither there nor absent: a face lacks a unit only where it was coded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fea.data.example import Example


class Neighbors:
    """Faces by their labels.

    Args:
        examples: that may be found.
    """

    def __init__(self, examples: Sequence[Example]):
        self.examples = examples
        self._present = _table([example.present & example.coded for example in examples])
        self._coded = _table([example.coded for example in examples])
        words = sorted({word for example in examples for word in example.labels})
        self._words = {word: column for column, word in enumerate(words)}
        self._labels = np.array([[word in example.labels for word in words] for example in examples], dtype=bool)
        self._images = np.array([example.image for example in examples])

    def nearest(self, example: Example, lacking: int | None = None, count: int = 1) -> list[int]:
        """Numbers of the faces that are nearest to one, the nearest first.

        A face with one of its emotions comes before all without; then the greater F1 of the other units, over those that were
        coded in both; of equal ones the earlier. Neither the face itself nor another line about its image is among them.

        Args:
            example: the face.
            lacking: FACS number of a unit that is known not to show in what is found; None for any.
            count: how many, at most.

        Returns:
            None of them if no face is known to lack the unit.
        """
        allowed = self._images != example.image
        units = np.arange(self._coded.shape[1])
        if lacking is not None:
            allowed &= self._coded[:, lacking] & ~self._present[:, lacking]
        own_present, own_coded = _table([example.present & example.coded])[0], _table([example.coded])[0]
        compared = self._coded & own_coded & (units != lacking)
        there, here = self._present & compared, own_present & compared
        shared, named = (there & here).sum(axis=1), there.sum(axis=1) + here.sum(axis=1)
        # Two faces without any of the units that both were coded for are alike; without a common unit nothing is known.
        f1 = np.where(named > 0, 2 * shared / np.maximum(named, 1), compared.any(axis=1).astype(np.float64))
        columns = [self._words[word] for word in example.labels if word in self._words]
        same = self._labels[:, columns].any(axis=1) if columns else np.zeros(len(f1), dtype=bool)
        order = np.lexsort((-f1, ~same))
        return [int(number) for number in order[allowed[order]][:count]]


def _table(sets: Sequence[frozenset[int]]) -> NDArray[np.bool_]:
    """(faces, 100) which numbers each set has."""
    found = np.zeros((len(sets), 100), dtype=bool)
    for row, numbers in enumerate(sets):
        found[row, sorted(numbers)] = True
    return found
