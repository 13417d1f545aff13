"""Measurements of blendshapes that were never measured: a table as `fea data silver` keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from fea.faces.blendshapes import NAMES

Shapes = Mapping[str, float]


def face_image(file: Path, number: int) -> Path:
    """A tiny image that is like no other one of another number."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(file, "PNG")
    return file


def row(image: Path, *faces: Shapes) -> dict[str, object]:
    """What was measured on an image: of each face the blendshapes that are not 0, both sides as one."""
    rows = [[_of(face, name) for name in NAMES] for face in faces]
    return {"image": image.name, "sha256": hashlib.sha256(image.read_bytes()).hexdigest(), "faces": rows}


def _of(face: Shapes, name: str) -> float:
    return face.get(name, face.get(name.removesuffix("Left").removesuffix("Right"), 0.0))


def table(file: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """The file of measurements."""
    lines = [json.dumps({"blendshapes": NAMES}), *map(json.dumps, rows)]
    file.write_text("".join(line + "\n" for line in lines))
    return file
