"""Finds the image that another one was made from: saved again, rescaled, mirrored, or cut at its edges.

Each image is known by a thumbnail. First all thumbnails of one set are compared with all of the other, whole and with windows
of them, mirrored too; then the best window is moved until the two agree best (the method of Lucas and Kanade); last the images
themselves are compared within it. `likeness` is the share of the contrast of one that the other one explains, 1 for equal ones.
Where one of the two is gray, the lightness of both is compared.

Tried on drawn faces, which are more alike than photographs: see `tests/images/test_alike.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.float32]
SIDE = 40  # pixels of a thumbnail
_COARSE = 10  # pixels along a side that all are compared with all by
_FINE, _FULL = 32, 96  # those that a window is moved by, on thumbnails and on the images
# Shares of a side that may have been cut off: windows of these sizes, in nine places each, are compared first.
_CUTS = (0.06, 0.12)
_SMALLEST = 0.75  # of a side; what is cut off further is another picture
# Likeness from which on two images are looked at closer, and from which on one was made from the other.
_WORTH, _CLOSER, ALIKE = 0.93, 0.93, 0.955
_SMOOTH = Image.Resampling.BILINEAR  # over as many pixels as a new one covers
_ROUNDS = 12  # of moving a window; six are enough where the two belong together
_PLAIN = (
    2.0  # steps of 256 that colors vary by in an image that shows nothing: it is like nothing, not even like its like
)
_GRAY = 3  # steps of 256 that the colors of a gray image differ by at most, after it was saved as JPEG
_LIGHTNESS = (0.299, 0.587, 0.114)  # shares of red, green and blue (ITU-R BT.601), by which Pillow makes gray images
_NOISE = 1e-6  # keeps what is divided by above 0
_BLOCK = 2048  # thumbnails of a set that are compared at a time: their windows take 50 MB


class Alike(NamedTuple):
    """Two images of which one was made from the other.

    Attributes:
        first: its number in the first set.
        second: its number in the second one.
        mirrored: whether left and right are exchanged.
        likeness: up to 1.
    """

    first: int
    second: int
    mirrored: bool
    likeness: float


class _Window(NamedTuple):
    """A part of an image, by shares of its sides."""

    top: float = 0.0
    bottom: float = 1.0
    left: float = 0.0
    right: float = 1.0


_WHOLE = _Window()


class _Candidate(NamedTuple):
    """What may belong together: a window of one image and the whole of the other."""

    likeness: float
    first: int
    mirrored: bool
    window: _Window
    of_first: bool


def thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """What an RGB image is known by, (SIDE, SIDE, 3)."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.uint8)


def alike(
    first: NDArray[np.uint8], second: NDArray[np.uint8], opened: Callable[[int, bool], Image.Image | None]
) -> Iterator[Alike]:
    """For each image of the second set the one of the first that it was made from, or that was made from it, if there is one.

    Args:
        first: thumbnails, (images, SIDE, SIDE, 3).
        second: those of another set.
        opened: the image of a number, of the first set if asked so; None if it cannot be read.
    """
    found = {pair.second: pair for pair in _alike(first, second, opened)}
    gray = _is_gray(first), _is_gray(second)
    for one, other in ((~gray[0], gray[1]), (gray[0], ~gray[1])):
        places = np.flatnonzero(one), np.flatnonzero(other)
        for pair in _alike(_gray(first[one]), _gray(second[other]), _gray_of(opened, *places)):
            pair = pair._replace(first=int(places[0][pair.first]), second=int(places[1][pair.second]))
            if pair.second not in found or found[pair.second].likeness < pair.likeness:
                found[pair.second] = pair
    yield from (found[number] for number in sorted(found))


def _is_gray(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    gray: NDArray[np.bool_] = np.ptp(thumbnails, axis=-1).max(axis=(1, 2), initial=0) <= _GRAY
    return gray


def _gray(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The lightness of colors in the place of each of them."""
    light = (thumbnails @ np.array(_LIGHTNESS)).round().astype(np.uint8)
    return np.repeat(light[..., None], 3, axis=-1)


def _gray_of(
    opened: Callable[[int, bool], Image.Image | None], first: NDArray[np.int64], second: NDArray[np.int64]
) -> Callable[[int, bool], Image.Image | None]:
    """Opens images by their numbers among others, without their colors."""

    def gray(number: int, of_first: bool) -> Image.Image | None:
        image = opened(int((first if of_first else second)[number]), of_first)
        return None if image is None else image.convert("L").convert("RGB")

    return gray


def _alike(
    first: NDArray[np.uint8], second: NDArray[np.uint8], opened: Callable[[int, bool], Image.Image | None]
) -> Iterator[Alike]:
    """Like `alike`, by what the planes show."""
    if not len(first) or not len(second):
        return
    for number, found in enumerate(_candidates(first, second)):
        if found.likeness >= _WORTH and second[number].std(axis=(0, 1)).max() > _PLAIN:
            pair = _planes(first[found.first]), _mirror(_planes(second[number]), found.mirrored)
            closer = _moved(*pair, found, _FINE)
            if closer.likeness >= _CLOSER and (sure := _compared(closer, number, opened)) >= ALIKE:
                yield Alike(found.first, number, found.mirrored, round(sure, 3))


def _planes(images: NDArray[np.uint8]) -> Pixels:
    """Images as numbers, their colors first: (..., 3, height, width)."""
    return np.moveaxis(images, -1, -3).astype(np.float32)


def _mirror(image: Pixels, mirrored: bool) -> Pixels:
    return image[..., ::-1] if mirrored else image


@cache
def _windows() -> tuple[_Window, ...]:
    """The whole and what is left of it when something is cut off."""
    starts = [(cut, y * cut, x * cut) for cut in _CUTS for y in (0, 0.5, 1) for x in (0, 0.5, 1)]
    return (_WHOLE, *(_Window(top, top + 1 - cut, left, left + 1 - cut) for cut, top, left in starts))


def _part(images: Pixels, window: _Window, side: int) -> Pixels:
    """A window of images, (..., side, side): each pixel is the mean of those that it covers."""
    rows = _cover(window.top, window.bottom, side, images.shape[-2])
    columns = _cover(window.left, window.right, side, images.shape[-1])
    part: Pixels = np.asarray(rows @ images @ columns.T, np.float32)
    return part


def _cover(start: float, end: float, side: int, of: int) -> Pixels:
    """How much of each new pixel lies on each old one, (side, of); rows add up to 1."""
    edges = np.linspace(start * of, end * of, side + 1)
    old = np.arange(of)
    cover = (np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)).clip(0)
    shares: Pixels = (cover / cover.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _described(images: Pixels, window: _Window) -> Pixels:
    """Windows as vectors of length 1, (images, 3 * _COARSE ** 2): their products are likenesses."""
    vectors = _part(images, window, _COARSE).reshape(len(images), -1)
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    ones: Pixels = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + _NOISE)
    return ones


def _candidates(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> list[_Candidate]:
    """For each image of the second set the one of the first that is most like it by thumbnails.

    Compared are the whole of one with the whole of the other, and windows of each with the whole of the other.
    """
    best = [_Candidate(-1.0, 0, False, _WHOLE, False)] * len(second)
    for start in range(0, len(first), _BLOCK):
        planes = _planes(first[start : start + _BLOCK])
        known = {window: _described(planes, window) for window in _windows()}
        for begin in range(0, len(second), _BLOCK):
            some = _planes(second[begin : begin + _BLOCK])
            for mirrored in (False, True):
                for likeness, column, window, of_first in _compared_all(known, _mirror(some, mirrored)):
                    for row in np.flatnonzero(likeness > [one.likeness for one in best[begin : begin + _BLOCK]]):
                        number = start + int(column[row])
                        best[begin + row] = _Candidate(float(likeness[row]), number, mirrored, window, of_first)
    return best


def _compared_all(
    known: dict[_Window, Pixels], some: Pixels
) -> Iterator[tuple[Pixels, NDArray[np.int64], _Window, bool]]:
    """For each of some images the greatest likeness to any of the others, and to which one, a window at a time."""
    whole = _described(some, _WHOLE)
    for window, vectors in known.items():
        products = whole @ vectors.T
        yield products.max(1), products.argmax(1), window, True
        if window != _WHOLE:
            products = _described(some, window) @ known[_WHOLE].T
            yield products.max(1), products.argmax(1), window, False


def _moved(first: Pixels, second: Pixels, found: _Candidate, side: int) -> _Candidate:
    """A candidate with its window where the two images, (3, height, width) each, agree best.

    The window is moved by what its four edges would have to move, were the image as steep further on as it is here: a pixel at
    the share u between two edges moves by 1 - u of the one and by u of the other.
    """
    part_of, whole = (first, second) if found.of_first else (second, first)
    wanted = _part(whole, _WHOLE, side)
    contrast = float(((wanted - wanted.mean()) ** 2).sum()) + _NOISE
    share = ((np.arange(side) + 0.5) / side).astype(np.float32)
    best, place = found._replace(likeness=-1.0), np.array(found.window)
    for _ in range(_ROUNDS):
        part = _part(part_of, _Window(*place), side)
        part = part + (wanted.mean() - part.mean())  # a picture that was made brighter is still the same
        wrong = wanted - part
        likeness = 1 - float((wrong**2).sum()) / contrast
        if likeness <= best.likeness:
            break
        best = best._replace(likeness=likeness, window=_Window(*place.tolist()))
        down, right = np.gradient(part, axis=(1, 2))
        down, right = down * side / (place[1] - place[0]), right * side / (place[3] - place[2])
        up = share[:, None]
        slopes = [down * (1 - up), down * up, right * (1 - share), right * share]
        matrix = np.stack([slope.ravel() for slope in slopes])
        step = np.linalg.lstsq(matrix @ matrix.T, matrix @ wrong.ravel(), rcond=None)[0]
        place = _allowed(place + step)
    return best


def _allowed(place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges within the image, and not too near to one another."""
    edges = place.clip(0, 1)
    for start, end in ((0, 1), (2, 3)):
        if edges[end] - edges[start] < _SMALLEST:
            middle = (edges[start] + edges[end]).clip(_SMALLEST, 2 - _SMALLEST) / 2
            edges[start], edges[end] = middle - _SMALLEST / 2, middle + _SMALLEST / 2
    return edges


def _compared(found: _Candidate, number: int, opened: Callable[[int, bool], Image.Image | None]) -> float:
    """Likeness of the images themselves; -1 if one of them cannot be read."""
    images: Sequence[Image.Image | None] = (opened(found.first, True), opened(number, False))
    planes = [
        _planes(np.asarray(image.resize((_FULL, _FULL), Image.Resampling.BOX))[None])[0] for image in images if image
    ]
    if len(planes) < 2:
        return -1.0
    return _moved(planes[0], _mirror(planes[1], found.mirrored), found, _FULL // 2).likeness
