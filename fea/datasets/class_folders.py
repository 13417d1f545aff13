"""Images in folders that are called like their class: train/happy/1.jpg."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fea.datasets.conversion import Face
from fea.datasets.images import folders_below, images_in

_DEPTH = 3  # data/train/happy
_SPLITS = {
    **dict.fromkeys(("train", "training", "train_set", "fer2013train"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "val_set", "dev", "publictest", "fer2013valid"), "val"),
    **dict.fromkeys(("test", "testing", "test_set", "privatetest", "fer2013test"), "test"),
}
_SUBJECT = re.compile(r"(S\d{3})_\d{3}_\d{8}")  # of CK+, whose copies are spread in such folders


class ClassFolder(NamedTuple):
    """A folder of one class.

    Attributes:
        path: of it.
        label: of its images; "" for a name that stands for none.
    """

    path: str
    label: str


def split_of(name: str) -> str | None:
    """What people call a split, as "train", "val" or "test"; None for other names."""
    return _SPLITS.get(name.strip().lower())


def class_folders(root: Path, labels: Mapping[str, str]) -> list[ClassFolder]:
    """The folders whose names stand for a label.

    Args:
        root: that they lie in, or within it the folders of splits.
        labels: name in lower case to label.
    """
    found = ((path, os.path.basename(path).lower()) for path in folders_below(root, _DEPTH))
    return [ClassFolder(path, labels[name]) for path, name in found if name in labels]


def faces_of(folders: Sequence[ClassFolder], prefix: str) -> Iterator[Face]:
    """The images of some folders.

    Args:
        folders: of known classes.
        prefix: of their ids.
    """
    root = os.path.commonpath([os.path.dirname(folder.path) for folder in folders])
    for folder in folders:
        parts = os.path.relpath(folder.path, root).split(os.sep)[:-1]
        above = [*parts, os.path.basename(root)]  # a source that is itself the folder "train"
        split = next((split for part in above if (split := split_of(part))), None)
        for image in images_in(folder.path):
            stem = os.path.relpath(image, root).replace(os.sep, "/")
            subject = _SUBJECT.match(os.path.basename(image))
            meta = {**({"subject": subject[1]} if subject else {}), **({"split": split} if split else {})}
            yield Face(f"{prefix}-{stem}", image, (folder.label,), meta=meta)
