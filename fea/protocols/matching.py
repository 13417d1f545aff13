"""Which answer belongs to which face: by id, else by image; and what was not matched, by its reason."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fea.data.example import Example
from fea.datasets.images import is_image
from fea.protocols.foreign import Said, Unread

NO_FACE = "no face has this id or image (not judged)"
NO_ANSWER = "no answer about the face (counts as wrong)"
SEVERAL = "the face has an answer already (the first counts)"
UNSURE = "the image may be that of several faces (not judged)"
_PARTS = 6  # of a path, from its end, that are compared


class Matched(NamedTuple):
    """Answers with their faces.

    Attributes:
        answers: by the number of a face, what was said of it.
        unmatched: by reason, names.
    """

    answers: dict[int, Said]
    unmatched: dict[str, list[str]]


def matched(said: Iterable[Said | Unread], examples: Sequence[Example]) -> Matched:
    """Gives each answer to its face.

    An image that was named on another machine is known by the end of its path, as long as that is the end of one face's path
    alone and of one answer's; whole names come first.

    Args:
        said: what the files say.
        examples: the faces.
    """
    unmatched: dict[str, list[str]] = defaultdict(list)
    answers: dict[int, Said] = {}
    left: list[Said] = []
    by_id = {example.id: number for number, example in enumerate(examples)}
    ends = _ends(examples)
    for one in said:
        if isinstance(one, Unread):
            unmatched[one.reason].append(one.place)
            continue
        face = by_id.get(one.id) if one.id else None
        if face is None and one.image:
            face = _face(ends, one.image, whole=True)
        if face is None:
            left.append(one)
        elif face in answers:
            unmatched[SEVERAL].append(_name(one))
        else:
            answers[face] = one
    _by_end(left, ends, answers, unmatched)
    return Matched(answers, dict(unmatched))


def _by_end(
    left: Sequence[Said], ends: dict[str, list[int]], answers: dict[int, Said], unmatched: dict[str, list[str]]
) -> None:
    """Matches those that no whole name has matched."""
    wanted: dict[int, list[Said]] = defaultdict(list)
    for one in left:
        face = _face(ends, one.image, whole=False) if one.image else None
        if face is None or face in answers:
            unmatched[NO_FACE].append(_name(one))
        else:
            wanted[face].append(one)
    for face, several in wanted.items():
        if len(several) == 1:
            answers[face] = several[0]
        else:
            unmatched[UNSURE] += map(_name, several)


def _ends(examples: Sequence[Example]) -> dict[str, list[int]]:
    """By the end of a path, the faces whose image's path ends so."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, example in enumerate(examples):
        for parts in {tuple(_parts(example.image)), tuple(_parts(_bare(example.image)))}:
            for count in range(1, min(len(parts), _PARTS) + 1):
                found["/".join(parts[-count:])].append(number)
    return found


def _bare(path: str) -> str:
    """A path without the ending of an image: tables may be called like the images that they are about."""
    return os.path.splitext(path)[0] if is_image(path) else path


def _face(ends: dict[str, list[int]], image: str, whole: bool) -> int | None:
    found = _alone(ends, _parts(image), whole)
    return _alone(ends, _parts(_bare(image)), whole) if found is None else found


def _parts(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]


def _alone(ends: dict[str, list[int]], parts: list[str], whole: bool) -> int | None:
    """The one face whose path ends as this one does, by as many parts as possible.

    Args:
        ends: of the faces.
        parts: of the path.
        whole: the whole path has to be an end, as of one that is relative to the folder of the images.
    """
    longest = min(len(parts), _PARTS)
    for count in range(longest, longest - 1 if whole else 0, -1):
        faces = ends.get("/".join(parts[-count:]), ())
        if faces:
            return faces[0] if len(faces) == 1 else None
    return None


def _name(one: Said) -> str:
    return one.id or one.image or one.place
