"""Images that look alike: copies that were saved again, rescaled or recompressed, and neighboring frames of a film.

Each image gets a perceptual hash, 256 bits of which about half differ between unrelated images. The usual 64 bits do not tell
faces apart that are cropped alike: of 3,000 drawn faces, 469 had another one within 4 bits. With 256, none of 12,000 had one
within 12, while copies (JPEG of quality 85, half or twice the size) stay within 10. Crops and mirror images are not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import imagehash
import numpy as np
from numpy.typing import NDArray

from fea.data.example import Example
from fea.images.opening import AT_A_TIME, MOST_PIXELS, load_image
from fea.system.progress import progress

_SIDE = 16  # a hash says which of the 16 x 16 lowest frequencies of an image are above their median
BITS = _SIDE**2
_ENOUGH = 256**2  # pixels of an image that are looked at; a hash is made of 64 x 64
# Hashes that are compared with all others at a time: with 100,000 images a block of products takes 100 MB, all of them 40 GB.
_BLOCK = 256


class Pair(NamedTuple):
    """Two images that look alike, and by how many bits their hashes differ."""

    first: int
    second: int
    bits: int


def hashes_of(examples: Sequence[Example], most_pixels: int = MOST_PIXELS) -> NDArray[np.bool_]:
    """Perceptual hashes of the examples' images, (examples, BITS).

    Args:
        examples: whose images are read.
        most_pixels: that an image may have.

    Raises:
        FEAError: an image cannot be read.
    """
    place_of = {example.image: example.place for example in reversed(examples)}  # several lines may share an image
    hash_of: dict[str, NDArray[np.bool_]] = {}
    # Pillow decodes outside of Python's lock.
    with ThreadPoolExecutor(AT_A_TIME) as pool, progress(len(place_of), "images") as advance:
        hashes = pool.map(lambda image, place: _hash(image, place, most_pixels), place_of, place_of.values())
        for image, hashed in zip(place_of, hashes, strict=True):
            hash_of[image] = hashed
            advance(1)
    return np.stack([hash_of[example.image] for example in examples])


def _hash(image: str, place: str, most_pixels: int) -> NDArray[np.bool_]:
    bits: NDArray[np.bool_] = imagehash.phash(
        load_image(image, place, most_pixels=most_pixels, enough=_ENOUGH), hash_size=_SIDE
    ).hash
    return bits.ravel()


def tied(hashes: NDArray[np.bool_], people: NDArray[np.int64], distance: int) -> tuple[NDArray[np.int64], list[Pair]]:
    """Joins people whose images look alike.

    Bits are compared as signs, by a matrix product: equal ones add 1 and different ones take 1 away, so that `distance`
    different bits leave BITS - 2 * distance.

    Args:
        hashes: (images, BITS).
        people: number of the person on each image.
        distance: bits in which two hashes may differ and still count as alike.

    Returns:
        For each image the number of its group of people, from 0 up; and for each image that looks like a later one of
        another person, the first such pair.
    """
    groups, pairs = people.copy(), []
    signs = np.where(hashes, 1, -1).astype(np.float32)  # sums of 256 signs are exact in float32
    for start in range(0, len(signs), _BLOCK):  # a block against itself and what comes after it: each pair once
        products = signs[start : start + _BLOCK] @ signs[start:].T
        for row, product in enumerate(products, start):
            alike = start + np.flatnonzero(product >= BITS - 2 * distance)
            others = alike[(alike > row) & (people[alike] != people[row])]
            if len(others):
                pairs.append(Pair(row, int(others[0]), int(BITS - product[others[0] - start]) // 2))
                # Whoever is tied to one of these is tied to this one too: whole groups get its number, not images alone.
                groups[np.isin(groups, groups[others])] = groups[row]
    return np.unique(groups, return_inverse=True)[1], pairs
