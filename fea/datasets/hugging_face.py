"""Data sets of the library of Hugging Face: saved in a folder by `save_to_disk`, or by their name on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fea.datasets.conversion import Face, Faces, Format, Source
from fea.datasets.own_table import Columns
from fea.errors import FEAError

_MARKS = ("dataset_info.json", "dataset_dict.json")


def _recognizes(path: Path) -> bool:
    return any((path / name).is_file() for name in _MARKS)


def _faces(source: Source) -> Faces:
    parts = _opened(source)
    first = next(iter(parts.values()))
    if first.features is None:
        raise FEAError(f"'{source.path}' does not say which columns it has; save it to a folder first")
    columns = Columns(str(source.path), list(first.features), source)
    names = getattr(first.features.get(columns.of.get("labels", "")), "names", None)
    columns.classes = columns.classes or tuple(names or ())
    columns.look(row for part in parts.values() for row in _some(part, list(columns.flags)))
    line = 0
    for name, part in parts.items():
        for row in _undecoded(part, columns.of["image"]):
            line += 1
            face = columns.face(line, row)
            if isinstance(face, Face) and len(parts) > 1 and "split" not in face.meta:
                face = face._replace(meta={**face.meta, "split": name})
            yield face


def _opened(source: Source) -> dict[str, Any]:
    """The splits by name."""
    import datasets

    try:
        if source.path.exists():
            found = datasets.load_from_disk(str(source.path))
        else:
            found = datasets.load_dataset(source.path.as_posix(), streaming=True)
    except Exception as error:  # its errors are of many kinds, from the network's to those of each format
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FEAError(
            f"'{source.path}' is neither a saved data set nor one of the hub that can be reached ({told}); check the name"
        ) from None
    return dict(found) if isinstance(found, dict) else {"": found}


def _some(part: Any, columns: list[str]) -> Iterator[dict[str, Any]]:
    return iter(part.select_columns(columns)) if columns else iter(())


def _undecoded(part: Any, image: str) -> Iterator[dict[str, Any]]:
    """The rows, with the images as they were stored."""
    import datasets

    kind = part.features[image]
    return iter(part.cast_column(image, datasets.Image(decode=False)) if isinstance(kind, datasets.Image) else part)


FORMAT = Format("hf", "a saved data set of Hugging Face", _faces, _recognizes)
