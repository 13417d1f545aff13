"""Has a policy forgotten an emotion or an Action Unit that it told at its start?

By rollout and class it is counted how much of the answers tell the class, and how many faces are labeled with it:

    rollouts    1 ........... 10 ........................... 41 .............. 55
                start: told on 9 of 160 faces                 since: told on 0.1 of 240 faces, 12 of which are labeled so

A class has vanished if, since some moment, it is told on less than a tenth of the faces that the policy of the start would tell
it on, and of those that are labeled with it: to give up what was invented, or what is no longer there, is no loss. And it must
be no chance, which takes the longer the rarer a class is, and the more alike the answers about a face are. Eight that are all
the same are one event; eight that differ as if eight faces had been asked about are eight. What they are worth is seen at the
start, as that of unequal weights is in a survey (Kish, Survey Sampling, 1965). Rollouts of 16 faces with 8 answers each until
a class is missed that was told on 60 and on 30 % of its faces (simulated, medians):

    share of the labels               10 %    5 %      3 %      2 %      1 %
    all answers about a face alike    10      14, 18   26, 34   42, 62   more than the 100 that are looked back upon
    correlation of .3 between them    10      11, 12   18, 19   28, 26   50, 54

M moments at which a class may have vanished; 4 counts of each, in the order of their names below.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from fea.evaluation.counts import Floats
from fea.evaluation.looking import Said

_SMALL = 0.1  # of what is due: too little to be more than a slip of the sampling
_BACK = 0.2  # of what is due, over a window; twice as much, so that a class on the line is told of once
_CAREFUL = 0.5  # of what is due: who tells a class half as often has not forgotten it, and may not be blamed for that
# Nats of evidence against that. While nothing is forgotten, 30 classes of 0.5 to 35 % of 16 faces, told on 30 % of theirs, make
# no false alarm in 2,000 windows of ten rollouts where answers about a face are correlated by 0, .3 or .6, and 7 where they are
# the same (simulated).
_SURE = 4.5
# Events that tell how often the start policy tells a class. Fewer leave that in doubt; many more, and a slow decline is
# taken for a part of the start.
_ENOUGH = 16
_MEMORY = 100  # rollouts that are looked back upon: in fewer, a class of 1 % of 16 faces each cannot be missed for sure
_NOTHING = 1e-12  # faces: in place of 0 where its logarithm is multiplied by 0
# What is kept of a class and a rollout; the last one is 1 if the rollout is part of the start.
_FACES, _LABELS, _TOLD, _SQUARES, _START = range(5)


class Vanished(NamedTuple):
    """A class that a policy has forgotten; shares are of its answers, or of its faces.

    Attributes:
        since: the first rollout without it, from 1 up.
        start: share of the answers that told it at the start.
        now: share of those that tell it since.
        labels: share of the faces since that are labeled with it.
    """

    since: int
    start: float
    now: float
    labels: float


class Vanishing:
    """Watches which classes are told.

    Args:
        window: rollouts that the start has at least, and the time without a class.

    Attributes:
        gone: by class, "fear" or "AU12", what has vanished and not come back.
    """

    def __init__(self, window: int):
        self.window, self.rollouts = window, 0
        self.start: dict[str, list[float]] = {}  # sums over the first rollouts, of a rare class over more of them
        self.recent: deque[dict[str, list[float]]] = deque(maxlen=_MEMORY)
        self.gone: dict[str, Vanished] = {}

    def add(self, faces: Sequence[Said]) -> None:
        """Counts a rollout of all processes, and finds what has vanished or come back with it."""
        self.rollouts += 1
        rows = {name: [*counts, 0.0] for name, counts in _counted(faces, self.start).items()}
        self.recent.append(rows)
        for name, row in rows.items():
            start = self.start.setdefault(name, [0.0] * _START)
            if name not in self.gone and (
                self.rollouts <= self.window or start[_TOLD] ** 2 < _ENOUGH * start[_SQUARES]
            ):
                row[_START] = 1.0
                self.start[name] = [old + new for old, new in zip(start, row[:_START], strict=True)]
        for name in self.start:
            if name not in self.gone:
                self._look_for(name)
            elif self._is_back(name):
                del self.gone[name]
                for rollout in list(self.recent)[: -self.window]:  # what is long past is no evidence of a second time
                    rollout.pop(name, None)

    def _look_for(self, name: str) -> None:
        """Tries all moments since which the class may have vanished, and takes the one with most evidence."""
        rows = self._newest_first(name)
        moments = slice(self.window - 1, max(0, self.rollouts - self.window))
        since_M4 = rows[:, :_START].cumsum(axis=0)[moments]
        before_M4 = np.array(self.start[name]) - (rows[:, :_START] * rows[:, _START:]).cumsum(axis=0)[moments]
        told_M, due_M = since_M4[:, _TOLD], _due(before_M4, since_M4)
        found_M = np.where(told_M <= _SMALL * due_M, _worth(before_M4) * _evidence(before_M4, since_M4), 0)
        if len(found_M) and found_M.max() >= _SURE:
            moment = int(found_M.argmax())
            since, before = since_M4[moment], before_M4[moment]
            self.gone[name] = Vanished(
                since=self.rollouts - self.window - moment + 1,
                start=float(before[_TOLD] / before[_FACES]),
                now=float(since[_TOLD] / since[_FACES]),
                labels=float(since[_LABELS] / since[_FACES]),
            )

    def _is_back(self, name: str) -> bool:
        last = self._newest_first(name)[: self.window, :_START].sum(axis=0)
        due = float(_due(np.array([self.start[name]]), last[None])[0])
        return bool(last[_TOLD] > 0 and last[_TOLD] >= _BACK * due)

    def _newest_first(self, name: str) -> Floats:
        return np.array([rollout.get(name, [0.0] * (_START + 1)) for rollout in reversed(self.recent)])

    def state_dict(self) -> dict[str, Any]:
        """What it has counted, in plain values."""
        gone = {name: list(lost) for name, lost in self.gone.items()}
        return {"rollouts": self.rollouts, "start": dict(self.start), "recent": [*map(dict, self.recent)], "gone": gone}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on counting."""
        self.rollouts, self.start = state["rollouts"], _widened(state["start"], _START)
        self.recent = deque((_widened(rows, _START + 1) for rows in state["recent"]), maxlen=_MEMORY)
        self.gone = {name: Vanished(*lost) for name, lost in state["gone"].items()}


def _widened(rows: dict[str, list[float]], width: int) -> dict[str, list[float]]:
    """Counts of a checkpoint; an earlier release kept no squares, and took a told face for one event."""
    kept = rows.items()
    return {name: row if len(row) == width else [*row[:_SQUARES], row[_TOLD], *row[_SQUARES:]] for name, row in kept}


def _counted(faces: Sequence[Said], known: Iterable[str]) -> dict[str, list[float]]:
    """By class the faces that could show it, how many of these are labeled with it, and how many are told to.

    A face is told to show a class by the share of its answers that say so; what cannot be read is no answer.
    """
    counts: dict[str, list[float]] = defaultdict(lambda: [0.0] * _START)

    def add(name: str, labeled: float, told: float) -> None:
        counts[name] = [old + new for old, new in zip(counts[name], (1.0, labeled, told, told**2), strict=True)]

    words = {name for name in known if not name.startswith("AU")}  # those for emotions are in small letters
    words.update(label for face in faces for label in face.labels)
    for face in faces:
        said = [emotion for emotion in face.emotions if emotion]
        for word in sorted(words) if face.labels and said else ():
            add(word, face.labels.count(word) / len(face.labels), said.count(word) / len(said))
        claimed = [units for units, thinks in zip(face.claimed, face.thinking, strict=True) if thinks]
        for unit in face.coded if claimed else ():
            add(f"AU{unit}", unit in face.present, fmean(unit in units for units in claimed))
    return counts


def _due(before_M4: Floats, since_M4: Floats) -> Floats:
    """Faces that a class would be told on: by the policy of before, or if it were told as often as it is there."""
    rate_M = before_M4[:, _TOLD] / np.maximum(before_M4[:, _FACES], 1)
    return np.minimum(rate_M * since_M4[:, _FACES], since_M4[:, _LABELS])


def _worth(before_M4: Floats) -> Floats:
    """Events that a told face is worth, from 1 to the number of answers about it: the mean of the shares over their variance.

    Of a rare class nearly all shares are 0, so that their variance is the mean of their squares; of a frequent one it is less.
    """
    return before_M4[:, _TOLD] / np.maximum(before_M4[:, _SQUARES], _NOTHING)


def _evidence(before_M4: Floats, since_M4: Floats) -> Floats:
    """How unlikely so few told faces are by chance, in nats, if each is one event: log-likelihood ratios of Poisson counts.

    Of two rates, before and since, against the second one being half of the first; and of the rate since against half of that
    of the labels. The smaller one counts.
    """
    told_M, both_M = since_M4[:, _TOLD], since_M4[:, _TOLD] + before_M4[:, _TOLD]
    careful_M = _CAREFUL * since_M4[:, _FACES]
    share_M = careful_M / np.maximum(careful_M + before_M4[:, _FACES], 1)
    rarer_M = _apart(told_M, both_M * share_M) + _apart(before_M4[:, _TOLD], both_M * (1 - share_M))
    return np.minimum(rarer_M, _apart(told_M, _CAREFUL * since_M4[:, _LABELS]))


def _apart(counted: Floats, expected: Floats) -> Floats:
    """Of a Poisson count, its log-likelihood at its own mean less that at another one."""
    ratio = np.maximum(counted, _NOTHING) / np.maximum(expected, _NOTHING)
    return counted * np.log(ratio) - counted + expected
