"""Which face of a frame is which face of the frames before: numbers that stay with the faces.

Boxes are matched greedily by how much they overlap (intersection over union), the closest pair first, as in the IOU tracker of
Bochinski et al. (2017). A face is looked for where it was, and where it would be had it moved on as it last did: so two faces
that pass each other keep their numbers. Two that change places between two frames cannot be told from two that stayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fea.faces.detectors import Box

# Seconds for which a face may be away and keep its number: a hand before it, or a detector that blinks, are over by then, and
# who comes back later may be someone else.
AWAY = 1.0
# Of intersection over union: a head may move by two thirds of its width from frame to frame, which at five frames a second is
# more than three widths a second; faces side by side do not overlap at all.
_LEAST = 0.2
_Where = tuple[float, float, float, float]  # as a `Box`, in fractions of pixels


class _Track(NamedTuple):
    id: int
    box: Box
    seen: float
    across: float = 0.0  # pixels a second
    down: float = 0.0

    def at(self, time: float) -> _Where:
        """Where it would be if it had moved on."""
        left, top, width, height = self.box
        gone = time - self.seen
        return left + self.across * gone, top + self.down * gone, width, height

    def moved(self, box: Box, time: float) -> _Track:
        """The same face in a later frame."""
        gone = time - self.seen
        if gone <= 0:
            return self._replace(box=box)
        (x, y), (old_x, old_y) = _center(box), _center(self.box)
        return _Track(self.id, box, time, (x - old_x) / gone, (y - old_y) / gone)


class Tracks:
    """The faces of the frames so far.

    >>> tracks = Tracks()
    >>> tracks.ids([(100, 80, 60, 60), (300, 90, 50, 50)], time=0.0)
    [0, 1]
    >>> tracks.ids([(306, 90, 50, 50), (110, 80, 60, 60), (10, 200, 40, 40)], time=0.2)
    [1, 0, 2]

    Attributes:
        count: of the faces that there were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._tracks: list[_Track] = []
        self._before = 0.0  # when the last frame was

    def ids(self, boxes: Sequence[Box], time: float) -> list[int]:
        """The numbers of the faces of the next frame, from 0; a new face gets the next number.

        Args:
            boxes: of the faces; none for a frame without any.
            time: of the frame, in seconds; not before that of the last one.
        """
        # Where frames are further apart than that, a face of the last one was not away.
        here = [track for track in self._tracks if time - track.seen < AWAY or track.seen >= self._before]
        found = _matched(here, boxes, time)
        kept = {track.id: track for track in here}
        ids = []
        for number, box in enumerate(boxes):
            if number in found:
                track = found[number].moved(box, time)
            else:
                track = _Track(self.count, box, time)
                self.count += 1
            kept[track.id] = track
            ids.append(track.id)
        self._tracks, self._before = list(kept.values()), time
        return ids

    @property
    def known(self) -> set[int]:
        """Numbers of the faces that may come back."""
        return {track.id for track in self._tracks}


def _matched(tracks: Sequence[_Track], boxes: Sequence[Box], time: float) -> dict[int, _Track]:
    """By number of a box, the face that it shows; a box that shows none of these is not in it."""
    pairs = [
        (max(overlap(box, track.box), overlap(box, track.at(time))), number, track)
        for number, box in enumerate(boxes)
        for track in tracks
    ]
    found: dict[int, _Track] = {}
    for shared, number, track in sorted(pairs, key=lambda pair: (-pair[0], pair[2].id, pair[1])):
        if shared >= _LEAST and number not in found and track not in found.values():
            found[number] = track
    return found


def overlap(one: _Where, other: _Where) -> float:
    """Intersection over union of two boxes.

    >>> overlap((0, 0, 10, 10), (5, 0, 10, 10))
    0.3333333333333333
    """
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0.0, across) * max(0.0, down)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def _center(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2
