"""Pictures on their way to the model: some batches at a time, read ahead where they are files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, islice
from typing import NamedTuple

from PIL import Image

from fea.analysis.asking import Asking
from fea.analysis.films import Frame, check_films, count_frames, frames
from fea.analysis.inputs import Input
from fea.analysis.looking import Look
from fea.analysis.tables import Result, failure_of
from fea.analysis.writing import Place
from fea.data.example import Example
from fea.data.loader import EpochSampler, Loader
from fea.data.prompt import Prompt
from fea.errors import FEAError

_POOL = 8  # batches that are read ahead and sorted, so that a batch holds images of about one size and little padding


class Unit(NamedTuple):
    """A picture, or a frame of a film.

    Attributes:
        name: of the input.
        id: of its example.
        frame: of a film, from 0; None for a picture.
        time: of the frame, in seconds.
        error: why there is no such frame; "" if there is.
    """

    name: str
    id: str
    frame: int | None = None
    time: float | None = None
    error: str = ""

    def tell(self, result: Result) -> Result:
        """A result of this unit."""
        return result._replace(frame=self.frame, time=self.time)


class Pool(NamedTuple):
    """Pictures that are answered together.

    Attributes:
        units: the pictures, in order.
        prompts: of the faces in them, in any order.
        skipped: why some could not be read, or show no face.
        until: where the work goes on behind them.
    """

    units: Sequence[Unit]
    prompts: list[Prompt]
    skipped: Iterable[str]
    until: Place

    def in_order(self, found: Mapping[int, list[Result]], units: Iterable[int]) -> list[Result]:
        """The results of some of the pictures, those of one by face; one without any says why.

        Args:
            found: results of faces, by the number of their picture.
            units: numbers of pictures.
        """
        results: list[Result] = []
        for number in units:
            unit = self.units[number]
            if number in found:
                results += sorted(found[number], key=lambda result: result.face_id)
            elif unit.error:
                results.append(unit.tell(Result(unit.name, error=unit.error)))
            else:
                results.append(unit.tell(failure_of(unit.id, self.skipped)._replace(image=unit.name)))
        return results


def count_units(inputs: Sequence[Input], every: int) -> int:
    """How many pictures and frames there are; of films, about."""
    return sum(count_frames(one.name, every) if one.film else 1 for one in inputs)


def pools(
    inputs: Sequence[Input], look: Look, asking: Asking, emotions: tuple[str, ...], start: Place
) -> Iterator[Pool]:
    """Loads pictures.

    They begin at the same pictures wherever an earlier run broke off, so that the same ones share a batch.

    Args:
        inputs: what is asked about.
        look: makes prompts of a picture.
        asking: how.
        emotions: that may be answered.
        start: where to begin.

    Raises:
        FEAError: there is a film, and PyAV is missing.
    """
    if any(one.film for one in inputs):
        check_films()
    loads = _Loads(look, asking, emotions)
    numbered = list(enumerate(inputs))[start.item :]
    for film, some in groupby(numbered, key=lambda pair: pair[1].film):
        for item, several in [(number, [one]) for number, one in some] if film else [_together(list(some))]:
            if film:
                yield from loads.film(item, several[0], start.frame if item == start.item else 0)
            else:
                yield from loads.files(item, several)


def frame_pools(
    name: str, some: Sequence[Frame], look: Look, asking: Asking, emotions: tuple[str, ...]
) -> Iterator[Pool]:
    """The same of frames in memory.

    Args:
        name: of the film or the camera.
        some: of its frames.
        look: makes prompts of them.
        asking: how.
        emotions: that may be answered.
    """
    return _Loads(look, asking, emotions).frames(name, some)


def _together(numbered: Sequence[tuple[int, Input]]) -> tuple[int, list[Input]]:
    """The number of the first, and all of them."""
    return numbered[0][0], [one for _, one in numbered]


class _Loads(NamedTuple):
    look: Look
    asking: Asking
    emotions: tuple[str, ...]

    @property
    def size(self) -> int:
        """Pictures of a pool."""
        return _POOL * self.asking.batch_size

    def files(self, item: int, inputs: Sequence[Input]) -> Iterator[Pool]:
        """Pools of pictures that are no films."""
        units = [Unit(one.name, one.name) for one in inputs]
        pictures = {one.name: one.picture for one in inputs if one.picture is not None}
        workers = self.asking.num_workers if len(units) > self.asking.batch_size else 0
        for pool in self._loaded(units, pictures, workers):
            item += len(pool.units)
            yield pool._replace(until=Place(item))

    def film(self, item: int, film: Input, start: int) -> Iterator[Pool]:
        """Pools of frames; a film that breaks off has a last row that says why."""
        reading, broken = frames(film.name, self.asking.every, start), ""
        while not broken:
            some: list[Frame] = []
            try:
                for frame in islice(reading, self.size):
                    some.append(frame)
            except FEAError as error:
                broken = str(error).rpartition("; ")[0]
            if not some and not broken:
                return
            start += len(some)
            for pool in self.frames(film.name, some):
                yield pool._replace(until=Place(item, start))
            if broken:
                yield Pool([Unit(film.name, film.name, error=broken)], [], [], Place(item + 1))

    def frames(self, name: str, some: Sequence[Frame]) -> Iterator[Pool]:
        """Pools of some frames of a film or a camera."""
        units = [Unit(name, f"{name}@{frame.number}", frame.number, frame.time) for frame in some]
        return self._loaded(units, {unit.id: frame.picture for unit, frame in zip(units, some, strict=True)}, 0)

    def _loaded(self, units: Sequence[Unit], pictures: dict[str, Image.Image], workers: int) -> Iterator[Pool]:
        examples = [_example(unit, number % self.size, self.asking, self.emotions) for number, unit in enumerate(units)]
        sampler = EpochSampler(len(examples), shuffle=False)
        look = replace(self.look, pictures=pictures)
        loader = Loader(examples, look, sampler, self.size, workers, "skip", training=False)
        for start, prompts in zip(range(0, len(units), self.size), loader, strict=True):
            yield Pool(units[start : start + self.size], prompts, loader.skipped, Place())


def _example(unit: Unit, number: int, asking: Asking, emotions: tuple[str, ...]) -> Example:
    """A picture of which nothing is known."""
    return Example(
        unit.id, "", unit.id, unit.id, asking.question, None, frozenset(), (), emotions, None, {}, None, None, str(number),
        form=asking.answer,
    )  # fmt: skip
