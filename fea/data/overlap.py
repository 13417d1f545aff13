"""Who and what is on both sides of a split: people, and images of which one was made from the other. Light: no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fea.datasets.known import dataset_of
from fea.errors import FEAError
from fea.images.alike import alike
from fea.images.opening import MOST_PIXELS, load_image
from fea.records.person import person

Thumbnails = Mapping[str, NDArray[np.uint8]]  # by path of the image
Person = tuple[str, str]
_SHOWN = 3  # examples of each


class Side(NamedTuple):
    """One side of a split.

    Attributes:
        name: what it is called in a sentence.
        people: by data set and subject, file and line of the first line that shows them.
        images: by path, file and line of the first line that names it.
        thumbnails: of the images that could be read; of none, if they are too many to be opened.
    """

    name: str
    people: Mapping[Person, str]
    images: Mapping[str, str]
    thumbnails: Thumbnails


class Overlap(NamedTuple):
    """What two sides have in common; each with how it is told: "'S001' (val.jsonl:3, train.jsonl:1)"."""

    people: list[str]
    images: list[str]

    def told(self, first: str, second: str) -> list[str]:
        """The same as parts of a sentence, with examples.

        Args:
            first: what the first side is called.
            second: what the second one is called.
        """
        return [
            f"{len(found)} {what} of '{second}' {which} of '{first}', such as {', '.join(found[:_SHOWN])}"
            for found, what, which in (
                (self.people, "people", "are also in lines"),
                (self.images, "images", "are, or were made from, images"),
            )
            if found
        ]


def people_in(rows: Iterable[tuple[str, str, str]]) -> dict[Person, str]:
    """Who is named in some lines.

    Args:
        rows: data set, `meta_info` as JSON, and file and line of each.
    """
    found: dict[Person, str] = {}
    for dataset, meta, place in rows:
        # Of a million lines most name nobody, which is seen without reading them.
        if '"subject"' in meta and (name := person(json.loads(meta).get("subject"))):
            found.setdefault((_family(dataset), name), place)
    return found


def _family(dataset: str) -> str:
    """One name for all parts of a data set: "S001" of DISFA-Train and of DISFA-Test is the same person, of another set not."""
    known = dataset_of(dataset)
    return dataset.lower() if known is None else known.name


def overlap(first: Side, second: Side, most_pixels: int = MOST_PIXELS) -> Overlap:
    """What two sides have in common.

    Args:
        first: what is learned from.
        second: what is measured on.
        most_pixels: that an image may have to be opened.
    """
    people = [
        f"'{one[1]}' ({place}, {first.people[one]})" for one, place in second.people.items() if one in first.people
    ]
    return Overlap(people, list(_pairs(first, second, most_pixels)))


def _pairs(first: Side, second: Side, most_pixels: int) -> Iterator[str]:
    for image, place in second.images.items():
        if image in first.images:
            yield f"{place} = {first.images[image]}"
    learned, judged = list(first.thumbnails), list(second.thumbnails)
    rest = [image for image in judged if image not in first.images]

    def opened(number: int, of_first: bool) -> Image.Image | None:
        path = (learned if of_first else rest)[number]
        try:
            return load_image(path, "", most_pixels=most_pixels)
        except FEAError:
            return None

    for pair in alike(_stacked(first.thumbnails, learned), _stacked(second.thumbnails, rest), opened):
        sameness = ", mirrored" if pair.mirrored else ""
        yield f"{second.images[rest[pair.second]]} = {first.images[learned[pair.first]]} ({pair.likeness:.0%} alike{sameness})"


def _stacked(thumbnails: Thumbnails, images: Sequence[str]) -> NDArray[np.uint8]:
    return np.stack([thumbnails[image] for image in images]) if images else np.zeros((0, 1, 1, 3), np.uint8)
