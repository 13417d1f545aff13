"""The faces that `fea export` asks about: validation faces of the run if they can be read, else drawn ones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fea.commands._trainer import Planner, run
from fea.data.example import Example
from fea.data.mixture import Examples
from fea.data.module import FEADataModule
from fea.data.source import Source
from fea.data.table import open_jsonl
from fea.drawn.faces import write_faces
from fea.drawn.module import RenderedFaces
from fea.drawn.world import EMOTIONS
from fea.errors import FEAError
from fea.images.opening import load_image
from fea.model.checkpoints import Stored
from fea.records.record import Rules

_SEED = (
    1_000_003  # of the drawn ones: above all seeds that faces were trained on with, and those of validation and test
)


class Faces(NamedTuple):
    """What is asked about.

    Attributes:
        examples: the faces; those that run and export are both asked about come first.
        compared: how many these are.
        told: what these are, in words.
        scored: what all of them are, in words; "" if they are no validation faces of the run.
    """

    examples: list[Example]
    compared: int
    told: str
    scored: str


def faces_of(name: str, told: Stored, compared: int, scored: int, scratch: Path) -> Faces:
    """Faces to ask about.

    Args:
        name: folder or checkpoint of a run.
        told: what its checkpoint says, with its base where it is now.
        compared: how many run and export are both asked about.
        scored: how many of the validation set the run is asked about.
        scratch: folder for drawn ones.
    """
    whole: Sequence[Example] | Examples = ()
    found: list[Example] = []
    try:
        whole = _validation(name, told, scratch)
        found = _readable(whole, max(compared, scored))
    except FEAError as error:
        print(f"note: the validation faces of '{name}' cannot be read ({error}); others are drawn", file=sys.stderr)
    if found:
        first = _spread(len(found), compared)
        ordered = [found[n] for n in first] + [found[n] for n in sorted({*range(len(found))} - {*first})]
        words = [f"{count} of the {len(whole)} validation faces of the run" for count in (len(first), len(found))]
        return Faces(ordered, len(first), *words)
    file = write_faces(scratch / "drawn", compared, _SEED, "none")
    table = open_jsonl(file, file.parent, Rules(EMOTIONS, "raise", True), "raise")
    drawn = [table[number]._replace(emotions=told.emotions) for number in range(len(table))]
    return Faces(drawn, len(drawn), f"{len(drawn)} drawn faces", "")


def _validation(name: str, told: Stored, scratch: Path) -> Examples:
    """The validation set of a run; a drawn one that is not there any more is drawn again, elsewhere."""
    words = ["validate", "--run", name, "--base", told.policy.base, "--trainer.callbacks=[]", "--trainer.logger=false"]
    data: FEADataModule = run(words, Planner).datamodule
    sources = data.sources["val"]
    if isinstance(data, RenderedFaces):
        where, settings = data.drawn["val"]
        if not Path(sources[0].file).is_file():
            where = scratch / "validation"
            sources = [Source(str(write_faces(where, **settings)), wrap=False)]
    return Examples([data.open_source(source) for source in sources])


def _readable(examples: Examples, count: int) -> list[Example]:
    """Some of the examples, spread evenly; those whose picture cannot be read are left out."""
    found = []
    for number in _spread(len(examples), count):
        example = examples[number]
        try:
            load_image(example.image, example.place)
        except FEAError as error:
            print(f"note: left out: {error}", file=sys.stderr)
        else:
            found.append(example)
    return found


def _spread(total: int, count: int) -> list[int]:
    """At most so many of the numbers below `total`, evenly apart: files may be sorted."""
    numbers = np.linspace(0, total - 1, min(count, total)).round().astype(int)
    return [int(number) for number in np.unique(numbers)]
