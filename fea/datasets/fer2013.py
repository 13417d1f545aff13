"""FER2013: 35,887 gray faces of 48 x 48 pixels with one of seven emotions.

    fer2013.csv        emotion,pixels,Usage; 2304 values from 0 to 255, Training, PublicTest or PrivateTest
    train/angry/1.jpg  copies in folders; their test part is both test parts of the table

(Codes: the page of the competition.) PublicTest is called "val" here and PrivateTest "test", as papers use them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from fea.datasets.class_folders import class_folders, faces_of, split_of
from fea.datasets.conversion import Dropped, Face, Faces, Format, Source
from fea.datasets.dataset import Dataset
from fea.datasets.images import inside
from fea.datasets.reading import Table, named, shows
from fea.datasets.signs import FER2013 as SIGN
from fea.errors import FEAError

FER2013 = Dataset("fer2013", "the rights in the images are not settled")
CODES = dict(enumerate(("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")))
_FOLDERS = dict(zip(("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"), CODES.values(), strict=True))
_TABLES = ("fer2013.csv", "icml_face_data.csv")
_SIDE = 48  # pixels
_IN_NUMBERS = b"0123456789 \t\r\n"


def _recognizes(path: Path) -> bool:
    if path.is_file():
        return shows(path) == SIGN
    if any(inside(path, name, 1) for name in _TABLES):
        return True
    names = {Path(folder.path).name.lower() for folder in class_folders(path, _FOLDERS)}
    return names == _FOLDERS.keys()


def _faces(source: Source) -> Faces:
    found = next((place for name in _TABLES if (place := inside(source.path, name, 1))), None)
    file = source.path if source.path.is_file() else found
    if file is None:
        folders = class_folders(source.path, _FOLDERS)
        if not folders:
            raise FEAError(
                f"'{source.path}' holds neither fer2013.csv nor folders such as train/angry; give the folder of FER2013"
            )
        yield from faces_of(folders, "fer2013")
        return
    yield from faces_in(Table(file), CODES, "fer2013")


def faces_in(table: Table, codes: Mapping[int, str], prefix: str) -> Faces:
    """The faces of a table with the pixels of each, and the number of its emotion.

    Args:
        table: with columns as fer2013.csv has them.
        codes: what the numbers stand for.
        prefix: of the ids.
    """
    emotion, pixels = table.needed("emotion"), table.needed("pixels")
    usage = table.column("usage", "split")
    for line, row in table:
        where = f"row {line} of '{table.file}'"
        label = None if row is None else named(row[emotion], codes)
        if row is None:
            yield Dropped("the row does not fit the columns", where)
        elif label is None:
            yield Dropped(f"{row[emotion]!r} is none of the codes 0 to {max(codes)}", where)
        elif (image := picture(row[pixels])) is None:
            yield Dropped(f"there are not {_SIDE * _SIDE} pixels from 0 to 255", where)
        else:
            split = split_of(row[usage]) if usage else None
            yield Face(f"{prefix}-{line:05d}", image, (label,), meta={"split": split} if split else {})


def picture(cell: str) -> bytes | None:
    """The PNG of a face that is written as numbers; None if they are not as many as they have to be."""
    import numpy as np

    if not cell or cell.encode().translate(None, _IN_NUMBERS):
        return None
    values = np.fromstring(cell, dtype=np.int64, sep=" ")  # twice as fast as splitting the text
    if len(values) != _SIDE * _SIDE or values.max() > 255:
        return None
    return _png(values.astype(np.uint8).tobytes())


def _png(values: bytes) -> bytes:
    """A gray PNG, written here: Pillow takes four times as long for so small an image, and there are 35,887 of them.

    Before the pixels of each line stands a zero: they are not filtered. Nor are they compressed: with 2.4 kB a file takes as
    much of a disk as with 1.8. (Layout: the PNG specification, sections 5 and 9.)
    """
    lines = b"\0" + b"\0".join(values[start : start + _SIDE] for start in range(0, len(values), _SIDE))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines, 0)),
        (b"IEND", b""),
    )
    parts = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


FORMAT = Format("fer2013", "FER2013", _faces, _recognizes, "FER2013")
