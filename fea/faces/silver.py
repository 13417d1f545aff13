"""Silver labels: the rows of a source once more, with Action Units that were read from the blendshapes of their images.

What people have coded stays as it is. Emotions are never made up. An image without exactly one face becomes no line.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from fea.datasets.conversion import Dropped, Face, Faces, by_number, codes
from fea.datasets.signs import LIBREFACE, OPENFACE, PY_FEAT
from fea.errors import FEAError
from fea.faces import readout, rules
from fea.faces.blendshapes import Reads, Shapes
from fea.faces.measurements import Measurements
from fea.facs import au_number
from fea.records.unknown import coded_in

NO_FACE = "no face was found"
SEVERAL = "there are several faces in the image"
UNREADABLE = "the image cannot be read"
# Values of meta_info.source by which lines say that a program has made their labels.
PROGRAMS = frozenset((OPENFACE.name, PY_FEAT.name, LIBREFACE.name, rules.SOURCE, readout.SOURCE))
_AT_ONCE = 64  # images whose measurements reach the disk together: a second's work


class Known(NamedTuple):
    """What a source holds, found out before anything is measured.

    Attributes:
        rows: that are faces.
        open: of these, those without Action Units.
        coded: by data set, the FACS numbers that its coders looked for.
    """

    rows: int
    open: int
    coded: Mapping[str, frozenset[int]]


def survey(rows: Faces, dataset: str) -> Known:
    """Looks through a source.

    Args:
        rows: of a converter.
        dataset: that faces belong to which name none.
    """
    occurring: dict[str, set[int]] = defaultdict(set)
    count: Counter[bool] = Counter()
    for face in rows:
        if isinstance(face, Face):
            count[face.AUs is None] += 1
            found = occurring[_dataset(face, dataset)]
            found.update(map(au_number, (*(face.AUs or ()), *(face.AUs_coded or ()))))
    return Known(count.total(), count[True], {name: coded_in(name, units) for name, units in occurring.items()})


def silver(
    rows: Faces,
    reads: Reads,
    measurements: Measurements,
    known: Known,
    dataset: str,
    advance: Callable[[int], object] = lambda _: None,
) -> Faces:
    """The rows with Action Units where nobody has coded any.

    Args:
        rows: of a converter.
        reads: makes units of blendshapes.
        measurements: where blendshapes come from.
        known: what `survey` found in the same rows.
        dataset: that faces belong to which name none.
        advance: is called with how many images have been measured.
    """
    rows = iter(rows)
    while some := list(islice(rows, _AT_ONCE)):
        bare = [row.image for row in some if isinstance(row, Face) and row.AUs is None]
        found = iter(measurements.of(bare))
        for row in some:
            if isinstance(row, Dropped):
                yield row
            elif row.AUs is not None:
                yield coded_by_people(row, known, dataset)
            else:
                yield _read(row, next(found), reads)
        advance(len(bare))


def coded_by_people(face: Face, known: Known, dataset: str) -> Face:
    """A face with units as it is; what they were looked for among is written out.

    Else it would follow from all lines of the file, and these have the units of the others by now: each unit that the coders
    never looked for would count as absent.
    """
    if face.AUs_coded is not None:
        return face
    looked = codes(known.coded[_dataset(face, dataset)] | set(map(au_number, face.AUs or ())))
    return face._replace(AUs_coded=by_number(looked))


def one_face(shapes: Shapes | FEAError, place: str) -> Shapes | Dropped:
    """The blendshapes of the one face of an image, (52,), or why it has none."""
    if isinstance(shapes, FEAError):
        return Dropped(UNREADABLE, str(shapes))
    if len(shapes) != 1:
        return Dropped(SEVERAL if len(shapes) else NO_FACE, place)
    face: Shapes = shapes[0]
    return face


def place_of(face: Face) -> str:
    """What an image is called in a message."""
    return f"'{face.image}'" if isinstance(face.image, str) else face.id


def _read(face: Face, shapes: Shapes | FEAError, reads: Reads) -> Face | Dropped:
    found = one_face(shapes, place_of(face))
    if isinstance(found, Dropped):
        return found
    given = {"source_given": face.meta["source"]} if "source" in face.meta else {}
    meta: dict[str, Any] = {**face.meta, **given, **reads.meta}
    return face._replace(AUs=by_number(reads.shown(found)), AUs_coded=by_number(reads.units), meta=meta)


def _dataset(face: Face, dataset: str) -> str:
    return dataset if face.dataset is None else face.dataset


def by_people(rows: Faces) -> Iterator[Face]:
    """The faces whose Action Units people have coded."""
    for row in rows:
        if isinstance(row, Face) and row.AUs is not None and row.meta.get("source") not in PROGRAMS:
            yield row


def measured(
    faces: Iterable[Face], measurements: Measurements, advance: Callable[[int], object] = lambda _: None
) -> Iterator[tuple[Face, Shapes | Dropped]]:
    """Faces with their blendshapes, (52,), or with why they have none.

    Args:
        faces: to be measured.
        measurements: where blendshapes come from.
        advance: is called with how many images have been measured.
    """
    rest = iter(faces)
    while some := list(islice(rest, _AT_ONCE)):
        found: Sequence[Shapes | FEAError] = measurements.of([face.image for face in some])
        yield from ((face, one_face(shapes, place_of(face))) for face, shapes in zip(some, found, strict=True))
        advance(len(some))
