"""Faces of frames, one after the other: which one each is, and what is said of it over time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby

from fea.analysis.tables import Result
from fea.watching.smoothing import Smoothed, readable
from fea.watching.tracking import Tracks


class Follower:
    """Follows the faces of a film or a camera.

    Args:
        seconds: time constant of the smoothing; 0 for none.
        known: FACS numbers of the units that the model has learned.

    Attributes:
        tracks: the faces.
        frames: that were followed.
        unreadable: answers that could not be read.
    """

    def __init__(self, seconds: float, known: Collection[int]):
        self.seconds, self.known = seconds, known
        self.tracks = Tracks()
        self.frames = self.unreadable = 0
        self._smoothed: dict[int, Smoothed] = {}

    def __call__(self, results: Sequence[Result]) -> list[Result]:
        """The results of the next frames, with the numbers of the faces as `face_id`, and smoothed.

        Args:
            results: of whole frames, in their order; faces that were not looked for have no box, and are one.
        """
        return [told for _, some in groupby(results, lambda one: one.frame) for told in self._frame(list(some))]

    def _frame(self, results: Sequence[Result]) -> list[Result]:
        """The faces of a frame by their number; a frame without any stays as it is."""
        self.frames += 1
        boxes = [result.box for result in results if result.box is not None]
        ids = iter(self.tracks.ids(boxes, results[0].time or 0.0))
        found = [result if result.box is None else result._replace(face_id=next(ids)) for result in results]
        told = [result if result.error else self._face(result) for result in found]
        gone = self._smoothed.keys() - self.tracks.known if boxes else ()
        for number in gone:
            del self._smoothed[number]
        return sorted(told, key=lambda result: result.face_id)

    def _face(self, result: Result) -> Result:
        self.unreadable += not readable(result)
        if not self.seconds:
            return result
        if result.face_id not in self._smoothed:
            self._smoothed[result.face_id] = Smoothed(self.seconds, self.known)
        return self._smoothed[result.face_id](result)
