"""What is said of a face over time, so that one odd answer does not show.

An exponential mean by time: with v what an answer says (1 for a unit that it claims and 0 for one that it does not, or the
share of several answers), dt the seconds since the answer before, and tau the time constant,

    s <- s + (1 - exp(-dt / tau)) * (v - s)

and the first answer as it is. Emotions alike, each with the share that names it. An answer that cannot be read, or that names
none of the allowed emotions, does not enter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import exp

from fea.analysis.tables import Result
from fea.facs import au_number
from fea.watching.tracking import AWAY

_HALF = 0.5  # from which share on a unit is told as claimed, as in the tables of other programs
_DIGITS = 4  # of a share that is told; what is less than that is not there any more


class Smoothed:
    """What is said of one face.

    A unit that the model has not learned is told as the answer of a frame has it: where that does not claim it, nothing is
    known, and there is nothing to take a mean of.

    Args:
        seconds: the time constant, above 0.
        known: FACS numbers of the units that the model has learned.
    """

    def __init__(self, seconds: float, known: Collection[int]):
        self.seconds, self.known = seconds, known
        self._units: dict[str, float] = {}
        self._emotions: dict[str, float] = {}
        self._time: float | None = None  # of the last answer that entered

    def __call__(self, result: Result) -> Result:
        """The result of the next frame, with shares of units and emotions, and those that lead.

        Reasoning and text stay those of the frame. Where its answer cannot be read, what was said before holds for a second;
        then nothing is known.

        Args:
            result: of a frame, whose time is not before that of the last one.
        """
        time = result.time or 0.0
        units, emotions = _shares(result)
        if readable(result):
            weight = 1.0 if self._time is None else 1 - exp(-(time - self._time) / self.seconds)
            self._units = _mean(self._units, {code: units[code] for code in units if self._knows(code)}, weight)
            self._emotions, self._time = _mean(self._emotions, emotions, weight), time
        if self._time is None or time - self._time >= AWAY:
            return result._replace(aus=(), emotion="", votes=None, emotion_votes=None)
        others = {code: units[code] for code in units if readable(result) and not self._knows(code)}
        told = _told({**self._units, **others})
        claimed = sorted((code for code, share in told.items() if share >= _HALF), key=au_number)
        leading = max(self._emotions, key=self._emotions.__getitem__)  # of two alike, the one that was there before
        shares = _told(self._emotions)
        return result._replace(aus=tuple(claimed), emotion=leading, votes=told, emotion_votes=shares)

    def _knows(self, code: str) -> bool:
        return au_number(code) in self.known


def readable(result: Result) -> bool:
    """Whether an answer is well-formed and names an emotion."""
    return result.valid and bool(result.emotion)


def _shares(result: Result) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Of units and of emotions, what an answer says: shares of votes; without samples 1."""
    if result.votes is not None and result.emotion_votes is not None:
        return result.votes, result.emotion_votes
    return dict.fromkeys(result.aus, 1.0), {result.emotion: 1.0} if result.emotion else {}


def _mean(old: Mapping[str, float], new: Mapping[str, float], weight: float) -> dict[str, float]:
    """What was there before comes first; what is in neither is 0."""
    return {
        name: old.get(name, 0.0) + weight * (new.get(name, 0.0) - old.get(name, 0.0))
        for name in dict.fromkeys((*old, *new))
    }


def _told(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: rounded for name, share in shares.items() if (rounded := round(share, _DIGITS))}
