"""Faces of an evaluation as a page shows them: a small picture, what was coded, and the answer with its claims marked."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from PIL import Image

from fea.errors import FEAError
from fea.evaluation.marks import Piece, marked
from fea.evaluation.scores import au_f1, emotion_match
from fea.images.opening import load_image
from fea.protocols.cases import Case, codes

_SIDE = 112  # pixels of a thumbnail: enough to recognize the face, and 24 of them stay below 200 kB
_QUALITY = 80  # of JPEG
_LONGEST = 1200  # characters of a text; a policy that rambles must not fill the page


class Shown(NamedTuple):
    """A face on a page.

    Attributes:
        id: of the face.
        picture: JPEG in base64; "" where the file cannot be read, or pictures are left out.
        truth: what people said of it, in words.
        worth: mean of the scores of this answer, None if nothing is known of the face.
        pieces: the text, each claim with its kind.
        cut: whether the text goes on.
        missed: codes that are there and not claimed.
        said: what a row without a text says; "" for a text.
    """

    id: str
    picture: str
    truth: str
    worth: float | None
    pieces: Sequence[Piece]
    cut: bool
    missed: Sequence[str]
    said: str


def worth(case: Case) -> float | None:
    """The mean of F1 of its units and whether its emotion is right, of those that are known; None if neither is."""
    units = au_f1(case.answer, case.example) if "AUs" in case.says else None
    emotion = emotion_match(case.answer, case.example) if "emotion" in case.says else None
    known = [value for value in (units, emotion) if value is not None]
    return fmean(known) if known else None


def worst(cases: Sequence[Case], count: int) -> list[Case]:
    """Faces with the lowest worth; among equals chance decides, and always the same one."""
    known = [(value, _chance(case), case) for case in cases if (value := worth(case)) is not None]
    return [case for _, _, case in sorted(known, key=lambda entry: entry[:2])[:count]]


def drawn(cases: Sequence[Case], count: int) -> list[Case]:
    """Faces by chance, whatever their scores, and always the same ones."""
    return sorted(cases, key=_chance)[:count]


def _chance(case: Case) -> str:
    return hashlib.sha256(f"{case.example.id}\0{case.example.image}".encode(errors="backslashreplace")).hexdigest()


def shown(case: Case, folder: Path, pictures: bool) -> Shown:
    """A face as it stands on the page.

    Args:
        case: the face.
        folder: that images are looked for in which are not there by their own path.
        pictures: whether to show it at all.
    """
    example, answer = case.example, case.answer
    found = marked(answer, example)
    pieces = list(_beginning(found.pieces))
    claims = " ".join([*codes(answer.aus), *([answer.emotion] if answer.emotion else [])])
    units = (" ".join(codes(example.present)) or "no AU") if example.coded else "AUs not coded"
    return Shown(
        id=example.id,
        picture=_thumbnail(example.image, folder) if pictures else "",
        truth=f"{' or '.join(example.labels) or 'emotion unknown'}; {units}",
        worth=worth(case),
        pieces=pieces,
        cut=sum(len(piece.text) for piece in pieces) < len(answer.text),
        missed=codes(found.missed) if "AUs" in case.says else [],
        said="" if answer.text.strip() else (claims or "no answer"),
    )


def _beginning(pieces: Sequence[Piece]) -> Sequence[Piece]:
    kept, left = [], _LONGEST
    for piece in pieces:
        kept.append(piece._replace(text=piece.text[:left]))
        left -= len(piece.text)
        if left <= 0:
            break
    return kept


def _thumbnail(image: str, folder: Path) -> str:
    """A small picture in base64; "" if there is none."""
    path = image if Path(image).is_file() else str(folder / image)
    try:
        picture = load_image(path, image, enough=_SIDE * _SIDE)
    except (FEAError, OSError):
        return ""
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY)
    return base64.b64encode(stream.getvalue()).decode()
