"""The drawn world: what is drawn, sampled and worded is true, varied, repeatable, and needs several units to be read."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fea.drawn.drawing import DRAWN_AUS, draw_face
from fea.drawn.faces import (
    DESCRIBE,
    EMOTIONS,
    Text,
    best_guess,
    ceiling,
    sample_expression,
    sample_movement,
    write_faces,
)
from fea.drawn.pen import Look
from fea.drawn.people import sample_look
from fea.drawn.wording import CORPUS, SIGNS, analysis, annotate, caption
from fea.errors import FEAError
from fea.facs import CONFLICTS, PROTOTYPES
from fea.prompts.answer import parse
from fea.prompts.mentions import find_mentions


def looks(count: int) -> list[Look]:
    return [sample_look(np.random.default_rng(seed)) for seed in range(count)]


def pixels(grades: dict[int, int], look: Look) -> NDArray[np.float64]:
    return np.asarray(draw_face(grades, look), dtype=np.float64)


def moved(a: NDArray[np.float64], b: NDArray[np.float64]) -> int:
    """Pixels that a person can tell apart: some channel differs by more than 20 of 255."""
    return int((np.abs(a - b).max(axis=-1) > 20).sum())


# --- drawing ---


def test_every_unit_differs_from_rest_and_from_every_other_on_every_person() -> None:
    assert len(DRAWN_AUS) >= 14
    for look in looks(4):
        faces = {0: pixels({}, look)} | {n: pixels({n: 3}, look) for n in DRAWN_AUS}
        assert faces[0].shape == (112, 112, 3)
        closest = min((moved(faces[a], faces[b]), a, b) for a, b in itertools.combinations(faces, 2))
        assert closest[0] >= 50, closest


@pytest.mark.parametrize("unit", DRAWN_AUS)
def test_a_stronger_movement_is_farther_from_rest(unit: int) -> None:
    for look in looks(4):
        rest = pixels({}, look)
        trace, marked, maximum = (np.abs(pixels({unit: grade}, look) - rest).sum() for grade in (1, 3, 5))
        assert 0 < 1.05 * trace < marked < maximum / 1.05
        assert moved(rest, pixels({unit: 1}, look)) >= 30


def test_a_unit_shows_among_others() -> None:
    look = looks(1)[0]
    fear = dict.fromkeys((1, 2, 4, 5, 7, 20, 25, 26), 3)
    for unit in fear:
        without = {n: grade for n, grade in fear.items() if n != unit and not (unit == 25 and n == 26)}
        assert moved(pixels(fear, look), pixels(without, look)) >= 15, unit


def test_units_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot draw AU10; drawn are AU1, AU2"):
        draw_face({10: 3}, looks(1)[0])


def test_people_and_pictures_vary_in_everything() -> None:
    people = looks(60)
    for name in Look._fields:
        assert len({getattr(look, name) for look in people}) >= (5 if name == "hair_style" else 50), name
    brightness = [sum(look.skin) for look in people]
    assert max(brightness) > 2 * min(brightness)


# --- sampling and its ceiling ---


def prior(aus: NDArray[np.bool_], prototype: frozenset[int]) -> NDArray[np.float64]:
    """Probability of each row of units under one prototype, the possible ones only: 26 needs 25, and 24 excludes it."""
    rate = {n: 0.88 if n in prototype else 0.05 for n in DRAWN_AUS}
    joint = np.ones(len(aus))
    for column, n in zip(aus.T, DRAWN_AUS, strict=True):
        joint *= np.where(column, rate[n], 1 - rate[n])
    on = {n: aus[:, DRAWN_AUS.index(n)] for n in (24, 25, 26)}
    possible = rate[25] * (1 - rate[24]) + (1 - rate[25]) * (1 - rate[26])
    return joint * ~(on[24] & on[25]) * ~(on[26] & ~on[25]) / possible


VARIANTS = {
    "anger": ({4, 5, 7, 23}, {4, 5, 7, 24}, {4, 7, 17, 23}, {4, 5, 7, 25, 26}),
    "disgust": ({9, 15, 16}, {9, 15, 17}),
    "fear": ({1, 2, 4, 5, 7, 20, 25, 26}, {1, 2, 4, 5, 20, 25, 26}, {1, 2, 4, 5, 7, 20, 25}),
    "happiness": ({6, 12}, {6, 12, 25}, {12}),
    "neutral": (set(),),
    "sadness": ({1, 4, 15}, {1, 4, 15, 17}, {6, 15}),
    "surprise": ({1, 2, 5, 25, 26},),
}
ALL_SETS = np.array(list(itertools.product([False, True], repeat=len(DRAWN_AUS))))


@pytest.fixture(scope="module")
def joint() -> NDArray[np.float64]:
    """(2**16, 7) probability of every set of units with every emotion, from the written-out rules."""
    columns = [np.mean([prior(ALL_SETS, frozenset(v)) for v in VARIANTS[emotion]], axis=0) for emotion in EMOTIONS]
    return np.stack(columns, axis=1) / len(EMOTIONS)


def test_the_ceiling_is_the_exact_bayes_accuracy(joint: NDArray[np.float64]) -> None:
    assert joint.sum() == pytest.approx(1, abs=1e-12)
    assert ceiling() == pytest.approx(joint.max(axis=1).sum(), abs=1e-12)
    assert 0.9 < ceiling() < 0.95


def test_the_best_guess_reaches_the_ceiling_on_sampled_faces(joint: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(0)
    faces = [sample_expression(rng) for _ in range(6000)]
    hits = np.mean([best_guess(face.grades) == face.emotion for face in faces])
    assert hits == pytest.approx(ceiling(), abs=4 * np.sqrt(0.92 * 0.08 / 6000))
    for row in np.random.default_rng(1).choice(len(ALL_SETS), 200, p=joint.sum(axis=1)):
        aus = [n for n, on in zip(DRAWN_AUS, ALL_SETS[row], strict=True) if on]
        assert best_guess(aus) == EMOTIONS[joint[row].argmax()]


def test_no_single_unit_gives_the_emotion_away(joint: NDArray[np.float64]) -> None:
    for count, most in ((1, 0.30), (2, 0.50)):
        for columns in itertools.combinations(range(len(DRAWN_AUS)), count):
            groups = ALL_SETS[:, columns] @ (2 ** np.arange(count))
            seen = sum(joint[groups == group].sum(axis=0).max() for group in range(2**count))
            assert seen < most, columns
    for column in range(len(DRAWN_AUS)):
        given = joint[ALL_SETS[:, column]].sum(axis=0)
        assert given.max() / given.sum() < 0.8, DRAWN_AUS[column]


def test_sampled_units_follow_the_rules(joint: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(2)
    faces = [sample_expression(rng) for _ in range(6000)]
    share = np.array([[n in face.grades for n in DRAWN_AUS] for face in faces])
    emotion = np.array([EMOTIONS.index(face.emotion) for face in faces])
    for e in range(len(EMOTIONS)):
        expected = joint[:, e] @ ALL_SETS / joint[:, e].sum()
        assert share[emotion == e].mean(axis=0) == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(700))
    assert {grade for face in faces for grade in face.grades.values()} == {1, 2, 3, 4, 5}
    assert not any(a in face.grades and b in face.grades for face in faces for a, b in CONFLICTS)
    assert all(25 in face.grades for face in faces if 26 in face.grades)


def test_movement_has_no_emotion_behind_it() -> None:
    rng = np.random.default_rng(3)
    faces = [sample_movement(rng) for _ in range(500)]
    assert {face.emotion for face in faces} == {""}
    assert all(0.1 < np.mean([n in face.grades for face in faces]) < 0.6 for n in DRAWN_AUS)


# --- wording ---


def test_analyses_say_exactly_the_units_and_the_emotion() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        emotion, grades = sample_expression(rng)
        answer = parse(analysis(grades, emotion, rng), EMOTIONS)
        assert (answer.aus, answer.emotion, answer.well_formed) == (set(grades), emotion, True)
    assert len({analysis({6, 12}, "happiness", rng) for _ in range(200)}) == 2 * 2 * 3


def test_captions_tell_units_and_degrees_apart_without_codes_or_emotions() -> None:
    texts = {caption({n: grade}) for n in DRAWN_AUS for grade in (2, 4)}
    assert len(texts) == 2 * len(DRAWN_AUS)
    assert caption({12: 3, 1: 1}) == "inner brows up slightly, mouth corners up strongly."
    assert caption({}) == "no sign of movement is visible."
    assert not any(find_mentions(text) or re.search(r"\d|" + "|".join(EMOTIONS), text) for text in texts)


def test_the_corpus_holds_every_word_that_is_written() -> None:
    rng = np.random.default_rng(0)
    known = set(re.findall(r"\w+|[^\w\s]", " ".join(CORPUS))) | set(EMOTIONS) | set("</>{}")
    for _ in range(300):
        emotion, grades = sample_expression(rng)
        text = caption(grades) + analysis(grades, emotion, rng)
        assert set(re.findall(r"\w+|[^\w\s]", text)) <= known | {"think", "answer"}
    assert set(SIGNS) == set(DRAWN_AUS)


def test_the_biased_annotator_invents_and_overlooks_at_its_rates() -> None:
    rng = np.random.default_rng(0)
    grades = {4: 1, 12: 2, 17: 3}  # of anger (4, 5, 7, 23); faint and unexpected; marked and unexpected
    notes = [annotate(grades, "anger", rng) for _ in range(2000)]
    share = {n: np.mean([n in note for note in notes]) for n in DRAWN_AUS}
    assert (share[4], share[17]) == (1, 1)
    for unit, rate in {12: 0.35, 5: 0.6, 7: 0.6, 23: 0.6}.items():
        assert share[unit] == pytest.approx(rate, abs=0.045)
    assert {n for n, s in share.items() if s} == {4, 5, 7, 12, 17, 23}
    assert PROTOTYPES["anger"][0] == {4, 5, 7, 23}


# --- files ---


def rows(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_same_seed_draws_the_same_bytes_and_a_longer_set_begins_with_a_shorter(tmp_path: Path) -> None:
    first, again, longer, other = (
        write_faces(tmp_path / name, n, seed) for name, n, seed in (("a", 4, 3), ("b", 4, 3), ("c", 6, 3), ("d", 4, 4))
    )
    images = [sorted((file.parent / "images").iterdir()) for file in (first, again, longer, other)]
    assert first.read_bytes() == again.read_bytes()
    assert longer.read_bytes().startswith(first.read_bytes())
    for a, b, c in zip(images[0], images[1], images[2], strict=False):
        assert a.read_bytes() == b.read_bytes() == c.read_bytes()
    assert len({image.read_bytes() for image in images[2] + images[3]}) == 10


@pytest.mark.parametrize("text", ["analysis", "annotator", "caption", "none"])
def test_labels_on_disk_are_those_of_the_picture(tmp_path: Path, text: Text) -> None:
    lines = rows(write_faces(tmp_path, 5, seed=1, text=text, size=56))
    for row in lines:
        with Image.open(tmp_path / str(row["image"])) as image:
            assert (image.size, image.mode) == ((56, 56), "RGB")
        grades = row["AU_intensities"]
        assert isinstance(grades, dict)
        assert row["AUs"] == list(grades)
        assert row["AUs_coded"] == [f"AU{n}" for n in DRAWN_AUS]
        assert row["question"] == (DESCRIBE if text == "caption" else "")
        assert len(row["labels"]) == (text != "caption")  # type: ignore[arg-type]
        assert ("description" in row) == (text != "none")
        if text == "analysis":
            assert {f"AU{n}" for n in parse(str(row["description"])).aus} == set(grades)


@pytest.mark.parametrize(("n", "seed", "size"), [(0, 0, 112), (1, 0, 20), (1, -1, 112)])
def test_impossible_orders_are_refused_before_anything_is_written(tmp_path: Path, n: int, seed: int, size: int) -> None:
    with pytest.raises(FEAError, match=f"cannot draw {n} faces of {size} pixels with seed {seed}; draw at least"):
        write_faces(tmp_path / "out", n, seed, size=size)
    assert not (tmp_path / "out").exists()
