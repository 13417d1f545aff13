"""Opens the images of a data file, and counts what no model learns from: unreadable, black, tiny and repeated ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from fea.errors import FEAError
from fea.images.alike import SIDE, thumbnail
from fea.images.opening import AT_A_TIME, MOST_PIXELS, load_image
from fea.system.files import whole, write_atomically
from fea.system.progress import progress

if TYPE_CHECKING:
    from fea.data.table import Table

MOST_OPENED = 20_000  # images that are opened unasked: a minute or two
_SMALLEST = 32  # pixels of the shorter side; FER2013, with the smallest faces in use, has 48
_FLAT = 8  # steps of 256 between the darkest and the brightest pixel, which JPEG makes of a single color
_SHOWN = 5


class Look(NamedTuple):
    """What was seen of one image.

    Attributes:
        problem: why it cannot be read, as when its file was cut off; "" if it can.
        flat: it is black, or of another single color.
        tiny: its shorter side is below 32 pixels.
        content: a hash of its pixels.
        thumbnail: what it is known by in comparisons, (SIDE, SIDE, 3); None if that was not asked for.
    """

    problem: str = ""
    flat: bool = False
    tiny: bool = False
    content: bytes = b""
    thumbnail: NDArray[np.uint8] | None = None


def look(image: str, place: str, most_pixels: int = MOST_PIXELS, compare: bool = False) -> Look:
    """Opens one image.

    Args:
        image: path of the file.
        place: file and line that name it, for the message.
        most_pixels: it may have.
        compare: make a thumbnail, too.
    """
    try:
        opened = load_image(image, place, most_pixels=most_pixels)
    except FEAError as error:
        return Look(str(error))
    ranges = cast(Sequence[tuple[int, int]], opened.getextrema())  # of the three channels
    pixels = hashlib.sha256(repr(opened.size).encode() + opened.tobytes()).digest()
    return Look(
        flat=all(high - low < _FLAT for low, high in ranges),
        tiny=min(opened.size) < _SMALLEST,
        content=pixels,
        thumbnail=thumbnail(opened) if compare else None,
    )


def look_at_all(place_of: Mapping[str, str], most_pixels: int = MOST_PIXELS, compare: bool = False) -> dict[str, Look]:
    """Opens images, with a progress bar on a terminal.

    Args:
        place_of: by path, file and line that name it.
        most_pixels: an image may have.
        compare: make thumbnails, too.
    """
    if not place_of:
        return {}
    # Pillow decodes outside of Python's lock.
    with ThreadPoolExecutor(AT_A_TIME) as pool, progress(len(place_of), "images") as advance:
        looks: dict[str, Look] = {}
        seen_of = pool.map(lambda image, place: look(image, place, most_pixels, compare), place_of, place_of.values())
        for image, seen in zip(place_of, seen_of, strict=True):
            looks[image] = seen
            advance(1)
        return looks


class Found(NamedTuple):
    """What is wrong with the images of a file.

    Attributes:
        problems: why some cannot be read.
        warnings: a sentence for each other thing.
        thumbnails: by path, of those that can be read; of none, if they are too many to be opened.
    """

    problems: list[str]
    warnings: list[str]
    thumbnails: Mapping[str, NDArray[np.uint8]]


def look_once(table: Table, most_pixels: int = MOST_PIXELS) -> Found:
    """Looks at the images of an opened file; if all can be read, that is remembered for as long as the file stays as it is.

    Args:
        table: the file. One with more images than are opened unasked is not looked at.
        most_pixels: an image may have.
    """
    lines: dict[str, int] = {}
    for image, line in zip(table.column("image"), table.column("line"), strict=True):
        lines.setdefault(image, line)
    if len(lines) > MOST_OPENED:
        told_why = f"images were not opened: {len(lines)} are more than {MOST_OPENED}; `fea data check` opens them"
        return Found([], [told_why], {})
    place_of = {str(table.image_root / image): f"{table.path}:{line}" for image, line in lines.items()}
    if known := _remembered(table, list(place_of), most_pixels):
        return known
    looks = look_at_all(place_of, most_pixels, compare=True)
    problems = [seen.problem for seen in looks.values() if seen.problem]
    found = Found(problems, list(told(looks)), {i: s.thumbnail for i, s in looks.items() if s.thumbnail is not None})
    if not problems:  # what cannot be read may be mended without a word in the file
        with suppress(OSError):  # a cache that is only read
            _remember(table, found, most_pixels)
    return found


def _remembered(table: Table, images: Sequence[str], most_pixels: int) -> Found | None:
    """What was found when the images of this state of a file were looked at; None if they were not."""
    told_then, thumbnails = table.copy.with_suffix(".images.json"), table.copy.with_suffix(".thumbnails")
    with suppress(OSError, ValueError, TypeError, KeyError):
        if told_then.stat().st_mtime_ns >= table.copy.stat().st_mtime_ns:
            known = json.loads(told_then.read_bytes())
            pixels = np.fromfile(thumbnails, np.uint8).reshape(len(images), SIDE, SIDE, 3)
            if known["most_pixels"] == most_pixels:
                return Found([], known["warnings"], dict(zip(images, pixels, strict=True)))
    return None


def _remember(table: Table, found: Found, most_pixels: int) -> None:
    with whole(table.copy.with_suffix(".thumbnails")) as stream:
        stream.writelines(thumbnail.tobytes() for thumbnail in found.thumbnails.values())
    told_now = {"most_pixels": most_pixels, "warnings": found.warnings}
    write_atomically(table.copy.with_suffix(".images.json"), json.dumps(told_now).encode())


def told(looks: Mapping[str, Look]) -> Iterator[str]:
    """A sentence for each thing that is wrong with images that can be read."""
    for what, found in (
        ("are black, or of another single color", [image for image, seen in looks.items() if seen.flat]),
        (f"are tiny: less than {_SMALLEST} pixels", [image for image, seen in looks.items() if seen.tiny]),
        ("are copies of another one", [f"{copy} = {first}" for copy, first in copies(looks).items()]),
    ):
        if found:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            yield f"{len(found)} images {what}: {', '.join(found[:_SHOWN])}{more}"


def copies(looks: Mapping[str, Look]) -> dict[str, str]:
    """By image, the first one with the same pixels, for images that are not the first."""
    first: dict[bytes, str] = {}
    return {
        image: first[seen.content]
        for image, seen in looks.items()
        if not seen.problem and first.setdefault(seen.content, image) != image
    }
