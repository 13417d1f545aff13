"""Plain photographs: a folder of images of which nothing is known, and those in the folders below it."""

from __future__ import annotations

import os
from pathlib import Path

from fea.datasets.conversion import Face, Faces, Format, Source
from fea.datasets.images import folders_below, images_in
from fea.errors import FEAError

_DEPTH = 8  # album/year/month/day and some more


def _recognizes(path: Path) -> bool:
    """Not by itself: any folder holds images of something, and labels that were not understood must not get lost."""
    return False


def _faces(source: Source) -> Faces:
    if not source.path.is_dir():
        raise FEAError(f"'{source.path}' is no folder; name the folder of the images")
    root = os.path.abspath(source.path)
    for folder in (root, *folders_below(source.path, _DEPTH)):
        for image in images_in(folder):
            yield Face(os.path.relpath(image, root).replace(os.sep, "/"), image)


FORMAT = Format("photos", "a folder of photographs", _faces, _recognizes)
