"""The examples of several files as one sequence, how often each of them is drawn, and how it is then asked about."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from fea.data.example import Example
from fea.data.table import Table
from fea.prompts.answer import Form

Balance = Literal["emotion", "au", "both"]


class Examples(Dataset[Example]):
    """Several tables one after the other, as far as their examples are chosen.

    An index is that of a kept example; its place counts all examples of all tables:

        table     0 0 0 1 1          _starts [0, 3, 5]
        place     0 1 2 3 4          _kept   [0, 3, 4]
        index     0     1 2          index 1 is place 3: example 0 of table 1

    Args:
        tables: opened data files.
        analysed: keep only examples with an analysis, or only those without; null keeps both.
        paired: keep only preference pairs.
    """

    def __init__(self, tables: Sequence[Table], analysed: bool | None = None, paired: bool = False):
        self.tables = tables
        self._starts = [0, *itertools.accumulate(map(len, tables))]
        self._kept: NDArray[np.int64] | None = None
        if paired or analysed is not None or any(table.chosen is not None for table in tables):
            self._kept = np.flatnonzero(np.concatenate([_kept(table, analysed, paired) for table in tables]))

    def __len__(self) -> int:
        return self._starts[-1] if self._kept is None else len(self._kept)

    def __getitem__(self, index: int) -> Example:
        place = index if self._kept is None else int(self._kept[index])
        table = bisect.bisect_right(self._starts, place) - 1
        return self.tables[table][place - self._starts[table]]

    def column(self, name: str) -> list[object]:
        """One field of all examples of all tables, kept or not."""
        return [value for table in self.tables for value in table.column(name)]

    def values(self, name: str) -> list[object]:
        """One field of each example."""
        every = self.column(name)
        return every if self._kept is None else [every[i] for i in self._kept]

    def weights(self) -> NDArray[np.float64]:
        """The weight of each example's file."""
        every = np.concatenate([np.full(len(table), table.weight) for table in self.tables])
        return every if self._kept is None else every[self._kept]

    def places(self) -> list[str]:
        """File and line of each example."""
        every = [f"{table.path}:{line}" for table in self.tables for line in table.column("line")]
        return every if self._kept is None else [every[i] for i in self._kept]

    def kinds(self, *fields: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sorts examples by what some fields say; those of one kind agree in all of these, and in their table.

        Returns:
            The first example of each kind, and the kind of each example.
        """
        kinds = np.repeat(np.arange(len(self.tables)), np.diff(self._starts))
        for field in fields:
            codes = np.concatenate([table.codes(field) for table in self.tables])
            kinds = np.unique(kinds * (codes.max() + 1) + codes, return_inverse=True)[1]
        _, first, kinds = np.unique(
            kinds if self._kept is None else kinds[self._kept], return_index=True, return_inverse=True
        )
        return first, kinds

    def balance(self, by: Balance, power: float = 1.0) -> NDArray[np.float64]:
        """Sampling weights that even out emotions, or Action Units; an example without such labels weighs the average.

        Each name is worth 1 over its examples, and an example weighs the mean of its names:

            AU12        AU12        AU12, AU4        -              AU12 in 3 examples: 1/3, AU4 in 1: 1
            1/3         1/3         2/3              4/9            4/9 = mean of the others

        Args:
            by: "both": half of the draws even out emotions, the other half Action Units.
            power: of the number of examples: by 1 names are even, by 0.5 a name of 100 times as many is drawn 10 times as
                often, by 0 all stay as they are.
        """
        if by == "both":
            emotions, units = self.balance("emotion", power), self.balance("au", power)
            both: NDArray[np.float64] = emotions / emotions.sum() + units / units.sum()
            return both
        columns = self.column("labels" if by == "emotion" else "AUs")
        labels = [tuple(value) if isinstance(value, list) else () for value in columns]
        if self._kept is not None:
            labels = [labels[i] for i in self._kept]
        names, counts = np.unique([name for value in labels for name in value], return_counts=True)
        rarity = dict(zip(names.tolist(), 1 / counts**power, strict=True))
        weights = np.array([np.mean([rarity[name] for name in value]) if value else np.nan for value in labels])
        known = ~np.isnan(weights)
        return np.where(known, weights, weights[known].mean() if known.any() else 1.0)


def _kept(table: Table, analysed: bool | None, paired: bool) -> NDArray[np.bool_]:
    """Which examples of a table are taken."""
    chosen = np.ones(len(table), dtype=bool) if table.chosen is None else table.chosen
    chosen = chosen & table.known("rejected") if paired else chosen
    return chosen if analysed is None else chosen & (table.known("analysis") == analysed)


def drawn_forms(forms: Mapping[Form, float] | None, count: int, chance: torch.Generator) -> list[Form | None]:
    """Draws so many forms in these proportions; without any, each is that of the policy, and no chance is used up."""
    if not forms:
        return [None] * count
    names = sorted(forms)  # whatever order a config has them in
    shares = torch.tensor([forms[name] for name in names], dtype=torch.float64)
    return [names[number] for number in torch.multinomial(shares, count, replacement=True, generator=chance).tolist()]
