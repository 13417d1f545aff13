"""Columns of the tables that Py-Feat, OpenFace and LibreFace write, so that what reads those reads ours.

All of their columns are there, by their names and in their order. What a language model does not say is left empty and never 0:
landmarks, pose, gaze, grades of intensity, and the units that it has not learned. A unit that it has learned is 0 where an
answer does not claim it. With samples, Py-Feat's probabilities are shares of votes, and with likelihoods those of emotions are
these. The picture is named in a last column where the other program names none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

from fea.analysis.tables import Result
from fea.facs import au_number

Foreign = Literal["pyfeat", "openface", "libreface"]
Value = str | int | float | bool | None


def _numbered(names: str, count: int) -> list[str]:
    """Of "x y", "x_0" to the last and then "y_0" to the last."""
    return [f"{name}_{number}" for name in names.split() for number in range(count)]


# The Fex class of Py-Feat 0.x: 173 columns.
_PYFEAT_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
_PYFEAT_EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
PYFEAT = (
    *("frame", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"),
    *_numbered("x y", 68),
    *("Pitch", "Roll", "Yaw"),
    *(f"AU{number:02}" for number in _PYFEAT_UNITS),
    *_PYFEAT_EMOTIONS,
    "input",
)

# FeatureExtraction of OpenFace 2.x: 714 columns.
_GRADED = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
_SHOWN = (*_GRADED[:-1], 28, 45)
OPENFACE = (
    *("frame", "face_id", "timestamp", "confidence", "success"),
    *(f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"),
    *("gaze_angle_x", "gaze_angle_y"),
    *_numbered("eye_lmk_x eye_lmk_y eye_lmk_X eye_lmk_Y eye_lmk_Z", 56),
    *(f"pose_{part}" for part in ("Tx", "Ty", "Tz", "Rx", "Ry", "Rz")),
    *_numbered("x y X Y Z", 68),
    *(f"p_{part}" for part in ("scale", "rx", "ry", "rz", "tx", "ty")),
    *_numbered("p", 34),
    *(f"AU{number:02}_r" for number in _GRADED),
    *(f"AU{number:02}_c" for number in _SHOWN),
)

# LibreFace, with what it adds for films.
_LIBREFACE_UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
_LIBREFACE_GRADED = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
_EXPRESSIONS = ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
_FILM = ("frame_idx", "frame_time_in_ms")
LIBREFACE = (
    *(f"lm_mp_{number}_{axis}" for number in range(478) for axis in "xyz"),
    *("pitch", "yaw", "roll", "facial_expression"),
    *(f"au_{number}" for number in _LIBREFACE_UNITS),
    *(f"au_{number}_intensity" for number in _LIBREFACE_GRADED),
    *("gaze_yaw", "gaze_pitch"),
)


def columns(kind: Foreign, film: bool) -> tuple[str, ...]:
    """The columns of a table; LibreFace has more for a film."""
    if kind == "pyfeat":
        return PYFEAT
    if kind == "openface":
        return (*OPENFACE, "input")
    return (*(_FILM if film else ()), *LIBREFACE, "input_image_path")


def values(kind: Foreign, result: Result, known: Collection[int], emotions: Sequence[str]) -> dict[str, Value]:
    """What is known of a row, by column; whatever is not in it is empty.

    Args:
        kind: whose table.
        result: of a face.
        known: FACS numbers that the model has learned.
        emotions: that it may answer.
    """
    return _VALUES[kind](result, known, emotions)


def _units(result: Result, known: Collection[int]) -> dict[int, float]:
    """Of each unit of which the answer says something, the share of votes; without samples 1 or 0."""
    claimed: Mapping[str, float] = dict.fromkeys(result.aus, 1.0) if result.votes is None else result.votes
    if not claimed and not result.valid:  # what cannot be read does not say that nothing shows
        return {}
    return dict.fromkeys(known, 0.0) | {au_number(code): share for code, share in claimed.items()}


def _emotions(result: Result, emotions: Sequence[str]) -> dict[str, float]:
    """The same of each allowed emotion, or its likelihood where that was asked for."""
    if result.likelihood is not None:
        return dict(result.likelihood)
    named = ({result.emotion: 1.0} if result.emotion else {}) if result.emotion_votes is None else result.emotion_votes
    return dict.fromkeys(emotions, 0.0) | dict(named) if named else {}


def _pyfeat(result: Result, known: Collection[int], emotions: Sequence[str]) -> dict[str, Value]:
    x, y, width, height = result.box or (None,) * 4
    return {
        "frame": result.frame, "FaceRectX": x, "FaceRectY": y, "FaceRectWidth": width, "FaceRectHeight": height,
        "FaceScore": result.score, **{f"AU{number:02}": share for number, share in _units(result, known).items()},
        **_emotions(result, emotions), "input": result.image,
    }  # fmt: skip


def _openface(result: Result, known: Collection[int], emotions: Sequence[str]) -> dict[str, Value]:
    return {
        "frame": None if result.frame is None else result.frame + 1,  # OpenFace counts from 1
        "face_id": result.face_id, "timestamp": result.time, "confidence": result.score, "success": int(not result.error),
        **{f"AU{number:02}_c": int(share >= _HALF) for number, share in _units(result, known).items()},
        "input": result.image,
    }  # fmt: skip


def _libreface(result: Result, known: Collection[int], emotions: Sequence[str]) -> dict[str, Value]:
    expression = result.emotion.capitalize()
    return {
        "frame_idx": result.frame, "frame_time_in_ms": None if result.time is None else 1000 * result.time,
        "facial_expression": expression if expression in _EXPRESSIONS else None,
        **{f"au_{number}": int(share >= _HALF) for number, share in _units(result, known).items()},
        "input_image_path": result.image,
    }  # fmt: skip


_HALF = 0.5  # of the votes
_VALUES: dict[Foreign, Callable[[Result, Collection[int], Sequence[str]], dict[str, Value]]] = {
    "pyfeat": _pyfeat,
    "openface": _openface,
    "libreface": _libreface,
}
