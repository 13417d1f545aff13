"""The demo world: people with expressions, drawn to image files and described in JSONL like anyone's data.

An emotion is drawn first, then its Action Units: a prototype of the emotion, of which units go missing, and to which units of
chance are added. So no single unit gives the emotion away. How far the true units determine it is computed exactly, by
enumerating all sets of units; that is the ceiling for every model.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fea.drawn.drawing import DRAWN_AUS, draw_face
from fea.drawn.pen import Look
from fea.drawn.wording import analysis, annotate, caption
from fea.errors import FEAError
from fea.facs import CONFLICTS, EMOTION_SETS, PROTOTYPES
from fea.system.lines import write_jsonl
from fea.system.sets import together

Text = Literal["analysis", "annotator", "caption", "none"]

EMOTIONS = EMOTION_SETS["basic7"]
_LABELS = "faces.jsonl"
DESCRIBE = "Describe the face."  # the question that captions answer
# Probabilities that a unit of the prototype does not show, and that any other unit does. With these the units determine the
# emotion of 92 % of the faces (`ceiling`), so that reading them pays and is not everything.
_MISSING = 0.12
_EXTRA = 0.05
_MOVING = 0.35  # probability that a unit shows in a face without an emotion: each is seen often, in any company
_GRADES = (0.12, 0.2, 0.28, 0.24, 0.16)  # probabilities of the grades 1 to 5: the extremes are rarer

_SKINS = (
    (255, 224, 196),
    (241, 194, 155),
    (224, 172, 138),
    (198, 134, 96),
    (160, 102, 68),
    (122, 76, 50),
    (92, 58, 40),
)
_HAIRS = ((30, 24, 22), (70, 45, 30), (120, 80, 45), (190, 150, 85), (150, 70, 35), (120, 120, 122), (215, 210, 205))
_IRISES = ((70, 110, 140), (80, 55, 35), (90, 120, 80), (60, 40, 30), (110, 120, 125))
_BACKGROUNDS = ((200, 205, 208), (172, 190, 200), (205, 196, 180), (150, 165, 150), (128, 138, 152), (186, 170, 178))
_STYLES = ("short", "long", "bald", "bun", "curly")


class Expression(NamedTuple):
    """An emotion and the units that show it.

    Attributes:
        emotion: one of `EMOTIONS`.
        grades: unit number to grade, 1 to 5.
    """

    emotion: str
    grades: dict[int, int]


def sample_expression(rng: np.random.Generator) -> Expression:
    """Draws an emotion, one of its prototypes, and the units that show."""
    emotion = str(rng.choice(EMOTIONS))
    variants = _variants(emotion)
    prototype = variants[rng.integers(len(variants))]
    while True:
        shown = [n for n in DRAWN_AUS if rng.random() < (1 - _MISSING if n in prototype else _EXTRA)]
        if _possible(set(shown)):
            return Expression(emotion, _graded(shown, rng))


def sample_movement(rng: np.random.Generator) -> Expression:
    """Draws units at random, without an emotion behind them."""
    while True:
        shown = [n for n in DRAWN_AUS if rng.random() < _MOVING]
        if _possible(set(shown)):
            return Expression("", _graded(shown, rng))


def _graded(shown: Collection[int], rng: np.random.Generator) -> dict[int, int]:
    return {n: int(rng.choice(5, p=_GRADES)) + 1 for n in shown}


def sample_look(rng: np.random.Generator) -> Look:
    """Draws a person, a pose and a light. No neutral feature moves as far as the trace of a unit does."""

    def color(palette: Collection[tuple[float, float, float]], jitter: float = 4) -> tuple[int, int, int]:
        """A tone of the palette, a little lighter or darker, and each channel off by itself."""
        shade = rng.choice(list(palette)) * rng.uniform(0.92, 1.06) + rng.normal(0, jitter, 3)
        r, g, b = (int(c) for c in np.clip(shade, 0, 255))
        return r, g, b

    def about(mean: float, spread: float) -> float:
        return float(rng.uniform(mean - spread, mean + spread))

    skin = color(_SKINS)
    return Look(
        skin=skin,
        hair=color(_HAIRS),
        iris=color(_IRISES),
        lips=color([(0.88 * skin[0], 0.54 * skin[1], 0.57 * skin[2])]),
        background=color(_BACKGROUNDS, 10),
        hair_style=str(rng.choice(_STYLES, p=(0.35, 0.25, 0.1, 0.15, 0.15))),
        face_width=about(0.98, 0.06),
        face_length=about(1.0, 0.05),
        eye_size=about(1.0, 0.1),
        eye_distance=about(0.42, 0.025),
        eye_opening=about(1.0, 0.1),
        brow_height=about(0.0, 0.025),
        brow_weight=about(1.0, 0.3),
        nose_length=about(1.0, 0.1),
        nose_width=about(1.0, 0.15),
        mouth_width=about(1.0, 0.07),
        mouth_height=about(0.0, 0.025),
        lip_fullness=about(1.0, 0.2),
        corner_height=about(0.0, 0.02),
        roll=float(rng.normal(0, 3)),
        yaw=float(rng.normal(0, 0.05)),
        scale=about(1.0, 0.05),
        shift=(about(0.0, 0.022), about(0.0, 0.022)),
        light=about(0.22, 0.22),
        light_angle=about(0.0, np.pi),
        brightness=about(0.93, 0.1),
    )


def write_faces(out: Path, n: int, seed: int = 0, text: Text = "analysis", size: int = 112) -> Path:
    """Draws faces into image files and writes their labels beside them.

    Args:
        out: folder; receives `faces.jsonl` and `images/`.
        n: number of faces.
        seed: with the face's number it determines everything, so a longer set begins with a shorter one.
        text: what goes into `description`: "analysis" (true), "annotator" (biased), "caption" (the signs in plain words, of
            faces that move without an emotion) or "none".
        size: width and height in pixels.

    Returns:
        The path of the JSONL file.

    Raises:
        FEAError: n or size is too small, the seed negative, or the folder holds files of something else under these names.
    """
    if n < 1 or size < 28 or seed < 0:
        raise FEAError(
            f"cannot draw {n} faces of {size} pixels with seed {seed}; draw at least 1, of at least 28 pixels, with a seed "
            "from 0 up"
        )
    drawn_before = _drawn_before(out)
    with together(out, _LABELS) as part:
        (part / "images").mkdir()
        records = [_write_face(part, number, seed, text, size) for number in range(n)]
        write_jsonl(part / _LABELS, records)
        _refuse_foreign(out, part, [record["image"] for record in records if record["image"] not in drawn_before])
    return out / _LABELS


def _drawn_before(out: Path) -> set[str]:
    """The images of a set that was drawn into this folder before."""
    file = out / _LABELS
    drawn = set()
    for line in file.read_bytes().splitlines() if file.exists() else []:
        record = None
        with suppress(ValueError):
            record = json.loads(line)
        if not isinstance(record, dict) or not str(record.get("id")).startswith("face-"):
            raise FEAError(f"'{file}' holds other lines than those of drawn faces; choose another folder")
        drawn.add(str(record.get("image")))
    return drawn


def _refuse_foreign(out: Path, part: Path, images: list[str]) -> None:
    """Refuses to write over files that no set names, unless they are the same."""
    for image in images:
        if (out / image).exists() and (out / image).read_bytes() != (part / image).read_bytes():
            raise FEAError(f"'{out / image}' is there already and was not drawn here; choose another folder")


def _write_face(out: Path, number: int, seed: int, text: Text, size: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, number])
    expression = sample_movement(rng) if text == "caption" else sample_expression(rng)
    look = sample_look(rng)
    image = f"images/{seed}-{number:06d}.png"
    draw_face(expression.grades, look, size).save(out / image, compress_level=1)
    record: dict[str, Any] = {
        "id": f"face-{seed}-{number}",
        "dataset": "faces",
        "image": image,
        "question": DESCRIBE if text == "caption" else "",
        "AUs": [f"AU{n}" for n in expression.grades],
        "AUs_coded": [f"AU{n}" for n in DRAWN_AUS],
        "labels": [expression.emotion] if expression.emotion else [],
        "AU_intensities": {f"AU{n}": grade for n, grade in expression.grades.items()},
    }
    if text != "none":
        record["description"] = _describe(expression, text, rng)
    return record


def _describe(expression: Expression, text: Text, rng: np.random.Generator) -> str:
    emotion, grades = expression
    if text == "caption":
        return caption(grades)
    return analysis(annotate(grades, emotion, rng) if text == "annotator" else grades, emotion, rng)


# --- how far the units determine the emotion --------------------------------------------------------------------------


def best_guess(aus: Collection[int]) -> str:
    """The most probable emotion of a face that shows exactly these units: Bayes' rule in the demo world."""
    index = sum(1 << DRAWN_AUS.index(n) for n in aus)
    return EMOTIONS[int(_joint()[index].argmax())]


def ceiling() -> float:
    """Accuracy of `best_guess` over all faces: no model that reads nothing but the units can do better."""
    return float(_joint().max(axis=1).sum())


@lru_cache(maxsize=1)
def _joint() -> NDArray[np.float64]:
    """Probability of every set of units with every emotion, (2**16, 7); row i holds unit k if bit k of i is set.

        DRAWN_AUS   1  2  4  5 ..        the set {AU1, AU4} is row 1 * 1 + 0 * 2 + 1 * 4 = 5
        bit         0  1  2  3 ..

    Impossible sets are drawn again, so the others share their probability: the division by the sum.
    """
    shown = (np.arange(2 ** len(DRAWN_AUS))[:, None] >> np.arange(len(DRAWN_AUS))) & 1 == 1
    possible = np.array([_possible({n for n, on in zip(DRAWN_AUS, row, strict=True) if on}) for row in shown])
    joint = np.zeros((len(shown), len(EMOTIONS)))
    for column, emotion in enumerate(EMOTIONS):
        variants = _variants(emotion)
        for prototype in variants:
            rate = np.array([1 - _MISSING if n in prototype else _EXTRA for n in DRAWN_AUS])
            weight = np.where(shown, rate, 1 - rate).prod(axis=1) * possible
            joint[:, column] += weight / weight.sum() / len(variants) / len(EMOTIONS)
    return joint


@cache
def _variants(emotion: str) -> tuple[frozenset[int], ...]:
    """The prototypes that can be drawn; a dropped jaw parts the lips."""
    drawn = [p for p in PROTOTYPES[emotion] if p <= set(DRAWN_AUS)]
    return tuple(dict.fromkeys(p | {25} if 26 in p else p for p in drawn))


def _possible(aus: set[int]) -> bool:
    """No conflict of anatomy, and no jaw that drops behind closed lips."""
    return not any(a in aus and b in aus for a, b in CONFLICTS) and (26 not in aus or 25 in aus)
