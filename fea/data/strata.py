"""Deals groups of lines to a test side, so that it holds the same share of every label.

Iterative stratification (Sechidis, Tsoumakas & Vlahavas, 2011), with groups in place of single lines: the rarest label is
dealt first, while there is a choice. Then groups leave, join and change places as long as that brings the shares closer:

    move        test side          allowed if
    add         A B    -> A B C    the shares come closer, there is room, and C is not the last with a label on the train side
    leave       A B C  -> A B      the shares come closer, and C is not the last with a label on the test side
    exchange    A B C  -> A B D    the shares come closer than with C, and D has every label that the test side loses with C
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

# Groups that are tried in the place of one, the next ones by number: a round then takes time in proportion to the groups, and
# not to their square. Smaller files than this are searched whole.
_OTHERS = 2000


def deal(held: Counts, tested: Counts, share: float, seed: int) -> NDArray[np.bool_]:
    """Chooses the groups of the test side.

    A label of at least two groups is put on both sides where that is possible. Groups whose lines can all be tested come
    before those of which some are lost; the test side takes no further group once it has its share of the lines.

    Args:
        held: lines by group and label, (groups, labels); the first label is that of all lines.
        tested: those of them that may be tested.
        share: of the lines of each label that is wanted on the test side.
        seed: of the order in which groups of the same kind are tried.

    Returns:
        Which groups go to the test side.
    """
    order = np.random.default_rng(seed).permutation(len(held))
    lost = 1 - tested[order, 0] / held[order, 0]  # share of a group's lines that neither side gets if it is tested
    order = order[np.argsort(lost, kind="stable")]  # by chance within groups that lose the same
    table = _Table(held[order], tested[order], share)
    for label in np.argsort(table.brings.sum(axis=0), kind="stable"):
        members = np.flatnonzero(table.brings[:, label])
        for group in members.tolist():
            table.add_if_closer(group)
        if not table.groups_on_test[label]:
            table.add_the_best(members)
    while sum(table.improve(group) for group in np.flatnonzero(table.brings[:, 0]).tolist()):
        pass  # until a whole round changes nothing
    chosen = np.zeros(len(held), dtype=bool)
    chosen[order] = table.chosen  # row i of the table is group order[i]
    return chosen


class _Table:
    """The two sides while they are dealt.

    Attributes:
        holds: whether a group has a label.
        brings: whether it has it in a line that may be tested.
        lines: that a group brings to the test side, by label; of all lines those that the train side loses.
        weight: 1 / lines of a label, so that rare labels count as much as frequent ones.
        excess: lines on the test side beyond its share, by label.
        chosen: whether a group is on the test side.
        groups_on_test: groups that bring a label to the test side.
        groups_on_train: groups that hold it on the train side.
    """

    def __init__(self, held: Counts, tested: Counts, share: float):
        self.holds, self.brings = held > 0, tested > 0
        self.lines = np.column_stack([held[:, :1], tested[:, 1:]]).astype(float)  # column 0 is the label of all lines
        self.weight = 1 / np.maximum(held.sum(axis=0), 1)
        self.excess = -share * held.sum(axis=0)
        self.chosen = np.zeros(len(held), dtype=bool)
        self.groups_on_test = np.zeros(held.shape[1], dtype=np.int64)
        self.groups_on_train = self.holds.sum(axis=0)

    def add_if_closer(self, group: int) -> bool:
        """Puts a group on the test side if that has room for it and comes closer to its shares."""
        full = self.excess[0] >= 0
        if self.chosen[group] or full or not self._spared([group])[0] or self._losses([group])[0] >= 0:
            return False
        self._move(group, 1)
        return True

    def add_the_best(self, groups: NDArray[np.int64]) -> None:
        """Puts the group that does least harm on the test side, full or not: without it a label would be missing there."""
        spared = groups[self._spared(groups)]
        if len(spared):
            self._move(spared[self._losses(spared).argmin()], 1)

    def improve(self, group: int) -> bool:
        """Adds a group, or takes it away, or puts another in its place, if that brings the shares closer.

        Whoever is on the test side is taken away first; then it is seen who comes in its place: nobody, another, or itself.
        """
        if not self.chosen[group]:
            return self.add_if_closer(group)
        self._move(group, -1)
        own = self._losses([group])[0]  # above 0: the shares are closer without it
        gone = self.brings[group] & (self.groups_on_test == 0)  # labels that the test side has lost with it
        if own > 0 and not gone.any():
            return True
        others = self._substitutes(group, gone)
        losses = self._losses(others)
        better = len(others) > 0 and losses.min() < own
        self._move(others[losses.argmin()] if better else group, 1)
        return better

    def _substitutes(self, group: int, gone: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Groups that may take the place of one: no larger than the place, and with all labels that went with it."""
        others = np.unique((group + np.arange(1, _OTHERS)) % len(self.lines))
        room = max(-self.excess[0], self.lines[group, 0])
        fit = ~self.chosen[others] & self.brings[others, 0] & (self.lines[others, 0] <= room)
        fit &= self.brings[np.ix_(others, gone)].all(axis=1)
        found: NDArray[np.int64] = others[fit & self._spared(others)]
        return found

    def _spared(self, groups: NDArray[np.int64] | list[int]) -> NDArray[np.bool_]:
        """Whether the train side can spare each group without losing a label."""
        last = self.holds[np.ix_(groups, self.groups_on_train <= 1)]
        return np.logical_not(last.any(axis=1))

    def _losses(self, groups: NDArray[np.int64] | list[int]) -> NDArray[np.float64]:
        """How much further from their share the labels would be with each group: the sum of squared excess over total.

        With n more lines an excess of e grows by (e + n)^2 - e^2 = n (n + 2 e) in its square.
        """
        lines = self.lines[groups]
        losses: NDArray[np.float64] = (lines * (lines + 2 * self.excess)) @ self.weight
        return losses.round(9)  # so that rounding errors are no gain

    def _move(self, group: int, sign: int) -> None:
        """To the test side with sign 1, back to the train side with -1."""
        self.chosen[group] = sign > 0
        self.excess += sign * self.lines[group]
        self.groups_on_test += sign * self.brings[group]
        self.groups_on_train -= sign * self.holds[group]
