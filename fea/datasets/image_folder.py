"""Images in folders that are called like their emotion, with or without folders of splits above them."""

from __future__ import annotations

import os
from pathlib import Path

from fea.datasets.class_folders import ClassFolder, faces_of, split_of
from fea.datasets.conversion import Dropped, Faces, Format, Source
from fea.datasets.images import folders_below, images_in
from fea.datasets.reading import listed
from fea.errors import FEAError
from fea.facs import EMOTION_SETS, emotion_name

_DEPTH = 3  # data/train/happy


def _recognizes(path: Path) -> bool:
    return path.is_dir() and any(folder.label for folder in _folders(path, EMOTION_SETS["basic8"]))


def _folders(root: Path, emotions: tuple[str, ...]) -> list[ClassFolder]:
    """All folders with images, the label of those that are called like an emotion."""
    found = ((path, emotion_name(os.path.basename(path), emotions)) for path in folders_below(root, _DEPTH))
    return [ClassFolder(path, name if name in emotions else "") for path, name in found if images_in(path)]


def _faces(source: Source) -> Faces:
    folders = _folders(source.path, source.emotions)
    known = [folder for folder in folders if folder.label]
    if not known:
        names = listed([f"'{os.path.basename(folder.path)}'" for folder in folders]) or "none with images"
        raise FEAError(
            f"no folder in '{source.path}' is called like an emotion (found: {names}); rename them, or name the format of "
            "the data set if they are its numbers"
        )
    for folder in folders:
        name = os.path.basename(folder.path)
        if not folder.label and split_of(name) is None:
            yield Dropped(f"the folder '{name}' is called like no emotion", folder.path, len(images_in(folder.path)))
    yield from faces_of(known, "image")


FORMAT = Format("imagefolder", "a folder of images by emotion", _faces, _recognizes)
