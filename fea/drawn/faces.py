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

from fea.drawn.affect import affect_of, usual_affect, usual_grades
from fea.drawn.coders import Coder
from fea.drawn.drawing import DRAWN_AUS, draw_face, possible
from fea.drawn.people import sample_look, sample_picture
from fea.drawn.wording import analysis, annotate, caption
from fea.drawn.world import EMOTIONS, EVEN, GRADES, Prior, World, world_of
from fea.errors import FEAError
from fea.facs import PROTOTYPES
from fea.prompts.numbered import numbered
from fea.prompts.numbers import NUMBERS
from fea.system.lines import write_jsonl
from fea.system.sets import together

Text = Literal["analysis", "annotator", "caption", "none"]

_LABELS = "faces.jsonl"
DESCRIBE = "Describe the face."  # the question that captions answer
# Probabilities that a unit of the prototype does not show, and that any other unit does. With these the units determine the
# emotion of 92 % of the faces (`ceiling`), so that reading them pays and is not everything.
_MISSING = 0.12
_EXTRA = 0.05
_MOVING = 0.35  # probability that a unit shows in a face without an emotion: each is seen often, in any company


class Expression(NamedTuple):
    """An emotion and the units that show it.

    Attributes:
        emotion: one of `EMOTIONS`.
        grades: unit number to grade, 1 to 5.
    """

    emotion: str
    grades: dict[int, int]


def sample_expression(rng: np.random.Generator, prior: Prior = EVEN) -> Expression:
    """Draws an emotion, one of its prototypes, and the units that show."""
    emotion = str(rng.choice(EMOTIONS, p=prior.chances))
    variants = _variants(emotion)
    rates = _rates(variants[rng.integers(len(variants))], prior)
    while True:
        shown = [n for n, rate in zip(DRAWN_AUS, rates, strict=True) if rng.random() < rate]
        if possible(set(shown)):
            return Expression(emotion, _graded(shown, prior, rng))


def sample_movement(rng: np.random.Generator) -> Expression:
    """Draws units at random, without an emotion behind them."""
    while True:
        shown = [n for n in DRAWN_AUS if rng.random() < _MOVING]
        if possible(set(shown)):
            return Expression("", _graded(shown, EVEN, rng))


def _graded(shown: Collection[int], prior: Prior, rng: np.random.Generator) -> dict[int, int]:
    return {n: int(rng.choice(GRADES, p=prior.grades)) for n in shown}


def write_faces(
    out: Path,
    n: int,
    seed: int = 0,
    text: Text = "analysis",
    size: int = 112,
    prior: str = "even",
    people: int = 0,
    noise: float = 0.0,
    numbers: bool = False,
) -> Path:
    """Draws faces into image files and writes their labels beside them.

    Args:
        out: folder; receives `faces.jsonl` and `images/`.
        n: number of faces.
        seed: with the face's number it determines everything, so a longer set begins with a shorter one.
        text: what goes into `description`: "analysis" (of all that is labeled), "annotator" (biased), "caption" (the signs in
            plain words, of faces that move without an emotion) or "none".
        size: width and height in pixels.
        prior: how often emotions and Action Units show: "even", "skewed" (as real ones do: emotions from 1.5 % to 36 % of
            all faces, units from 1.5 % to 46 %, most of them faint), or a JSON or YAML file with "emotions", words and their
            weights, "units", codes and what the odds that they show are multiplied by, and "grades", 1 to 5 and their weights.
        people: how many there are, each with several faces and named in `meta_info`; other seeds show other people. 0: every
            face is that of another person.
        noise: probability that the rarer of two things that are taken for each other is mislabeled: an Action Unit is
            overlooked, an emotion taken for a like one. As many errors the other way leave all shares as they are. Texts
            are written from the labels.
        numbers: tell valence and arousal (`fea.drawn.affect`), and in descriptions these and the grades of units: true ones in
            an "analysis"; an "annotator" gives those of the emotion in full, and draws grades to the middle.

    Returns:
        The path of the JSONL file.

    Raises:
        FEAError: n or size is too small, the seed negative, or the folder holds files of something else under these names; the
            world cannot be as it is described, or is one of emotions and to be drawn without any.
    """
    if n < 1 or size < 28 or seed < 0:
        raise FEAError(
            f"cannot draw {n} faces of {size} pixels with seed {seed}; draw at least 1, of at least 28 pixels, with a seed "
            "from 0 up"
        )
    world = world_of(prior, people, noise)
    if text == "caption" and world != World(people=people):
        raise FEAError(
            "text: captions tell of faces without an emotion, which have no prior and no noise; leave these out"
        )
    if text == "caption" and numbers:
        raise FEAError(
            "numbers: captions tell of faces without an emotion, which have no valence; leave one of the two out"
        )
    drawn_before = _drawn_before(out)
    with together(out, _LABELS) as part:
        (part / "images").mkdir()
        records = [_write_face(part, number, seed, text, size, world, numbers) for number in range(n)]
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


def _write_face(
    out: Path, number: int, seed: int, text: Text, size: int, world: World, numbers: bool
) -> dict[str, Any]:
    rng = np.random.default_rng([seed, number])
    expression = sample_movement(rng) if text == "caption" else sample_expression(rng, world.prior)
    person = number % world.people if world.people else None
    look = sample_look(rng) if person is None else sample_picture(seed, person, rng)
    image = f"images/{seed}-{number:06d}.png"
    draw_face(expression.grades, look, size).save(out / image, compress_level=1)
    expression = _labeled(expression, world, rng) if world.noise else expression
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
    if numbers:
        record.update(**affect_of(expression.emotion, expression.grades))
    if person is not None:
        record["meta_info"] = {"subject": f"{seed}-{person}"}
    if text != "none":
        record["description"] = _describe(expression, text, numbers, rng)
    return record


def _labeled(expression: Expression, world: World, rng: np.random.Generator) -> Expression:
    """What people who err label a face as; a unit that only they see gets a grade like any other."""
    coder = _coder(world)
    seen = coder.aus(expression.grades, rng)
    known = {n: grade for n, grade in expression.grades.items() if n in seen}
    return Expression(coder.emotion(expression.emotion, rng), _graded(seen, world.prior, rng) | known)


@cache
def _coder(world: World) -> Coder:
    return Coder(world.noise, dict(zip(EMOTIONS, world.prior.emotions, strict=True)), shares(world.prior))


def _describe(expression: Expression, text: Text, numbers: bool, rng: np.random.Generator) -> str:
    emotion, grades = expression
    if text == "caption":
        return caption(grades)
    seen = annotate(grades, emotion, rng) if text == "annotator" else grades
    told = analysis(seen, emotion, rng)
    if not numbers:
        return told
    if text == "annotator":
        grades = usual_grades({n: grades.get(n, 0) for n in sorted(seen)}, rng)
        return numbered(told, NUMBERS, grades, usual_affect(emotion))
    return numbered(told, NUMBERS, grades, affect_of(emotion, grades))


# --- how far the units determine the emotion --------------------------------------------------------------------------


def best_guess(aus: Collection[int], prior: Prior = EVEN) -> str:
    """The most probable emotion of a face that shows exactly these units: Bayes' rule in the demo world."""
    index = sum(1 << DRAWN_AUS.index(n) for n in aus)
    return EMOTIONS[int(_joint(prior)[index].argmax())]


def ceiling(prior: Prior = EVEN) -> float:
    """Accuracy of `best_guess` over all faces: no model that reads nothing but the units can do better."""
    return float(_joint(prior).max(axis=1).sum())


def best_guesses(prior: Prior = EVEN) -> NDArray[np.float64]:
    """Probability of every emotion with every `best_guess`, (7, 7): a row an emotion, a column a guess."""
    joint = _joint(prior)
    return np.stack([joint[joint.argmax(axis=1) == guess].sum(axis=0) for guess in range(len(EMOTIONS))], axis=1)


def shares(prior: Prior = EVEN) -> dict[int, float]:
    """For each unit the probability that a face shows it."""
    return dict(zip(DRAWN_AUS, (_joint(prior).sum(axis=1) @ _sets()[0]).tolist(), strict=True))


@lru_cache(maxsize=2)  # of 4 MB each
def _joint(prior: Prior) -> NDArray[np.float64]:
    """Probability of every set of units with every emotion, (2**16, 7); row i holds unit k if bit k of i is set.

        DRAWN_AUS   1  2  4  5 ..        the set {AU1, AU4} is row 1 * 1 + 0 * 2 + 1 * 4 = 5
        bit         0  1  2  3 ..

    Impossible sets are drawn again, so the others share their probability: the division by the sum.
    """
    shown, can_be = _sets()
    joint = np.zeros((len(shown), len(EMOTIONS)))
    for column, (emotion, chance) in enumerate(zip(EMOTIONS, prior.emotions, strict=True)):
        variants = _variants(emotion)
        for prototype in variants:
            rates = np.array(_rates(prototype, prior))
            weight = np.where(shown, rates, 1 - rates).prod(axis=1) * can_be
            joint[:, column] += chance * weight / weight.sum() / len(variants)
    return joint


@cache
def _sets() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """All sets of units in the order of `_joint`, (2**16, 16), and whether a face can show them."""
    shown = (np.arange(2 ** len(DRAWN_AUS))[:, None] >> np.arange(len(DRAWN_AUS))) & 1 == 1
    return shown, np.array([possible({n for n, on in zip(DRAWN_AUS, row, strict=True) if on}) for row in shown])


def _rates(prototype: Collection[int], prior: Prior) -> list[float]:
    """For each of `DRAWN_AUS` the probability that it shows, before impossible sets are drawn again."""
    return [prior.shows(n, 1 - _MISSING if n in prototype else _EXTRA) for n in DRAWN_AUS]


@cache
def _variants(emotion: str) -> tuple[frozenset[int], ...]:
    """The prototypes that can be drawn; a dropped jaw parts the lips."""
    drawn = [p for p in PROTOTYPES[emotion] if p <= set(DRAWN_AUS)]
    return tuple(dict.fromkeys(p | {25} if 26 in p else p for p in drawn))
