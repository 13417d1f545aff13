"""The world that faces are drawn from: its prior, its people, and the errors of those who label them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fea.cli import main
from fea.data.module import FEADataModule
from fea.drawn.coders import Coder
from fea.drawn.drawing import DRAWN_AUS, possible
from fea.drawn.faces import best_guess, best_guesses, ceiling, sample_expression, shares, write_faces
from fea.drawn.module import RenderedFaces
from fea.drawn.people import sample_look, sample_picture
from fea.drawn.world import EMOTIONS, EVEN, SKEWED, World, WorldSettings, world_of
from fea.errors import FEAError
from fea.prompts.answer import parse

PICTURE = {"background", "roll", "yaw", "scale", "shift", "light", "light_angle", "brightness"}


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_even_faces_stay_the_ones_that_they_were(tmp_path: Path) -> None:
    labels = {"analysis": "1b3cbe442aafcc4a", "annotator": "b71e7a138a0be381", "caption": "9b6a70654b3667c0"}
    for text, digest in labels.items():
        file = write_faces(tmp_path / text, 12, 3, text, 28)  # type: ignore[arg-type]
        assert hashlib.sha256(file.read_bytes()).hexdigest()[:16] == digest
    look = sample_look(np.random.default_rng(3))
    assert (look.skin, look.background, look.hair_style) == ((117, 70, 45), (201, 208, 227), "short")
    assert (look.yaw, look.brightness) == pytest.approx((-0.14140811534, 0.99401515003))  # the last that are drawn


# --- the prior ---


def test_the_skewed_world_is_as_skewed_as_real_labels_and_still_determined_by_its_units() -> None:
    emotions = dict(zip(EMOTIONS, SKEWED.emotions, strict=True))
    assert (min(emotions.values()), max(emotions.values())) == pytest.approx((0.015, 0.36))
    units = shares(SKEWED)
    assert 0.014 < min(units.values()) < 0.016
    assert 0.45 < max(units.values()) < 0.5
    assert sum(share < 0.04 for share in units.values()) >= 5
    assert 0.89 < ceiling(SKEWED) < 0.92
    recall = np.diag(best_guesses(SKEWED)) / SKEWED.emotions
    assert recall.min() > 0.6


def test_ceiling_guess_and_shares_are_those_of_sampled_faces() -> None:
    rng = np.random.default_rng(0)
    faces = [sample_expression(rng, SKEWED) for _ in range(8000)]
    found = Counter(face.emotion for face in faces)
    for word, chance in zip(EMOTIONS, SKEWED.emotions, strict=True):
        assert found[word] / 8000 == pytest.approx(chance, abs=4 * np.sqrt(chance / 8000))
    for n, share in shares(SKEWED).items():
        assert np.mean([n in face.grades for face in faces]) == pytest.approx(share, abs=4 * np.sqrt(share / 8000))
    guesses = np.zeros((7, 7))
    for face in faces:
        guesses[EMOTIONS.index(face.emotion), EMOTIONS.index(best_guess(face.grades, SKEWED))] += 1 / 8000
    assert guesses.trace() == pytest.approx(ceiling(SKEWED), abs=4 * np.sqrt(0.09 / 8000))
    assert guesses == pytest.approx(best_guesses(SKEWED), abs=0.01)
    assert best_guesses(SKEWED).trace() == pytest.approx(ceiling(SKEWED), abs=1e-12)
    assert ceiling() == pytest.approx(ceiling(EVEN)) != ceiling(SKEWED)


def test_a_prior_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"emotions": {"happiness": 3, "fear": 1}, "units": {"AU9": 0, "AU25": 4}}')
    (tmp_path / "b.yaml").write_text("units: {AU9: 0.1}\n")
    (tmp_path / "c.yaml").write_text(f"emotions: {{{', '.join(f'{word}: 20' for word in EMOTIONS)}}}\n")
    prior = world_of(str(tmp_path / "a.json"), 0, 0).prior
    assert dict(zip(EMOTIONS, prior.emotions, strict=True)) == dict.fromkeys(EMOTIONS, 0) | {
        "happiness": 0.75,
        "fear": 0.25,
    }
    assert shares(prior)[9] == 0
    rng = np.random.default_rng(0)
    faces = [sample_expression(rng, prior) for _ in range(300)]
    assert {face.emotion for face in faces} == {"happiness", "fear"}
    assert not any(9 in face.grades for face in faces)
    rarer = world_of(str(tmp_path / "b.yaml"), 0, 0).prior
    assert (rarer.emotions, rarer.shows(9, 0.88)) == (EVEN.emotions, pytest.approx(0.088 / 0.208))
    assert world_of(str(tmp_path / "c.yaml"), 0, 0) == World()
    (tmp_path / "d.json").write_text('{"grades": {"1": 3, "4": 1}}')
    (tmp_path / "e.yaml").write_text("grades: {1: 3, 4: 1}\n")
    faint = world_of(str(tmp_path / "d.json"), 0, 0).prior
    assert faint == world_of(str(tmp_path / "e.yaml"), 0, 0).prior == EVEN._replace(grades=(0.75, 0, 0, 0.25, 0))
    grades = Counter(grade for _ in range(300) for grade in sample_expression(rng, faint).grades.values())
    assert set(grades) == {1, 4}
    assert grades[1] / grades.total() == pytest.approx(0.75, abs=4 * np.sqrt(0.19 / grades.total()))


BAD = {
    '{"emotions": {"joy": 1}}': "key 'emotions': unknown emotion 'joy'; there are anger, ",
    '{"emotions": {"fear": -1}}': "key 'emotions': fear is -1; give a number from 0 up",
    '{"emotions": {"fear": "often"}}': "key 'emotions': fear is \"often\"; give a number",
    '{"emotions": {"fear": true}}': "key 'emotions': fear is true; give a number",
    '{"emotions": {"fear": .inf}}': "key 'emotions': fear is Infinity; give a number",
    '{"emotions": {"fear": 0, "anger": 0}}': "key 'emotions': none of the emotions has a weight above 0; give",
    '{"emotions": {}}': "key 'emotions': none of the emotions has a weight above 0; give",
    '{"emotions": ["fear"]}': "key 'emotions': expected names with numbers, found [\"fear\"]",
    '{"units": {"AU10": 1}}': "key 'units': 'AU10' is no unit that is drawn; there are AU1, ",
    '{"units": {"9": 1}}': "key 'units': '9' is no unit that is drawn",
    '{"units": {"AU9": .nan}}': "key 'units': AU9 is NaN; give a number from 0 up",
    '{"units": {"AU9": 101}}': "key 'units': AU9 is 101.0; give a number from 0 to 100",
    '{"units": null}': "key 'units': expected names with numbers, found null",
    '{"grades": {"6": 1}}': "key 'grades': unknown grade '6'; there are 1, 2, 3, 4, 5",
    '{"grades": {"1": 0}}': "key 'grades': none of the grades has a weight above 0; give",
    '{"grades": [1, 2]}': "key 'grades': expected names with numbers, found [1, 2]",
    '{"emotion": {"fear": 1}}': "expected an object with the keys 'emotions', 'units' and 'grades', found {\"emotion\": ",
    "[1, 2]": "expected an object with the keys 'emotions', 'units' and 'grades', found [1, 2]",
    "": "expected an object with the keys 'emotions', 'units' and 'grades', found null",
    "{": "is neither JSON nor YAML: ",
}


@pytest.mark.parametrize(("text", "told"), BAD.items(), ids=list(BAD))
def test_a_bad_prior_is_one_sentence_with_its_file_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    file = tmp_path / "prior.json"
    file.write_text(text)
    assert main(["data", "faces", str(tmp_path / "out"), "--n", "2", "--prior", str(file)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"fea: error: prior: '{file}'")
    assert told in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"prior": "skewd"}, "prior: 'skewd' is no file, and none of even, skewed; check the name"),
        ({"people": -1}, "people: -1; give their number"),
        ({"noise": 0.6}, "noise: 0.6; give a probability from 0 to 0.5"),
        ({"noise": float("nan")}, "noise: nan; give a probability"),
        ({"text": "caption", "prior": "skewed"}, "text: captions tell of faces without an emotion"),
        ({"text": "caption", "noise": 0.1}, "text: captions tell of faces without an emotion"),
    ],
)
def test_impossible_worlds_are_refused(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(FEAError, match=told):
        write_faces(tmp_path / "out", 2, **settings)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"\xff\xfe\x00{")
    for file, told in ((tmp_path / "p", "is neither JSON nor YAML: "), (tmp_path, "is no file")):
        with pytest.raises(FEAError, match=told):
            world_of(str(file), 0, 0)


# --- people ---


def test_a_person_keeps_the_face_and_changes_the_picture() -> None:
    one, again, other, elsewhere = (
        sample_picture(seed, person, np.random.default_rng(chance))
        for seed, person, chance in ((3, 5, 0), (3, 5, 1), (3, 6, 0), (4, 5, 0))
    )
    assert {name for name in one._fields if getattr(one, name) != getattr(again, name)} == PICTURE
    for stranger in (other, elsewhere):
        same = {name for name in one._fields if getattr(one, name) == getattr(stranger, name)}
        assert same - {"hair_style"} == PICTURE


def test_each_of_the_people_has_several_faces_and_other_seeds_show_others(tmp_path: Path) -> None:
    world: dict[str, Any] = {"text": "none", "size": 28, "prior": "skewed", "people": 3, "noise": 0.3}
    shorter, longer = (write_faces(tmp_path / str(n), n, 7, **world) for n in (4, 9))
    assert longer.read_bytes().startswith(shorter.read_bytes())
    for image in (tmp_path / "4" / "images").iterdir():
        assert image.read_bytes() == (tmp_path / "9" / "images" / image.name).read_bytes()
    people = Counter(row["meta_info"]["subject"] for row in rows(longer))
    assert people == {"7-0": 3, "7-1": 3, "7-2": 3}
    others = {row["meta_info"]["subject"] for row in rows(write_faces(tmp_path / "other", 9, 8, **world))}
    assert not others & set(people)
    assert "meta_info" not in rows(write_faces(tmp_path / "all", 2, 7, size=28))[0]


def test_a_split_keeps_people_together(tmp_path: Path) -> None:
    file = write_faces(tmp_path / "faces", 60, 1, people=12)
    split = ["data", "split", str(file), "--out", str(tmp_path / "split"), "--unreviewed", "any", "--distance", "0"]
    assert main([*split, "--test_share", "0.3"]) == 0
    sides = [
        {row["meta_info"]["subject"] for row in rows(tmp_path / "split" / f"{name}.jsonl")}
        for name in ("train", "test")
    ]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]


# --- noise ---

CODER = Coder(0.1, dict(zip(EMOTIONS, SKEWED.emotions, strict=True)), shares(SKEWED))


def test_the_rarer_is_mistaken_with_the_noise_and_the_other_as_often_in_all() -> None:
    rng = np.random.default_rng(0)
    said = {word: Counter(CODER.emotion(word, rng) for _ in range(4000)) for word in EMOTIONS}
    expected = {
        ("fear", "surprise"): 0.1, ("surprise", "fear"): 0.1 / 3,
        ("disgust", "anger"): 0.1, ("anger", "disgust"): 0.1 * 2 / 11,
        ("neutral", "happiness"): 0.1, ("happiness", "neutral"): 0.1 * 25 / 35,
        ("sadness", "neutral"): 0.1, ("neutral", "sadness"): 0.1 * 15 / 25,
    }  # fmt: skip
    for word, counts in said.items():
        for other in set(EMOTIONS) - {word}:
            assert counts[other] / 4000 == pytest.approx(expected.get((word, other), 0), abs=0.02), (word, other)


def test_noise_leaves_the_shares_and_errs_at_its_rate() -> None:
    rng = np.random.default_rng(1)
    faces = [sample_expression(rng, SKEWED) for _ in range(8000)]
    read = [set(CODER.aus(face.grades, rng)) for face in faces]
    assert all(map(possible, read))
    for n, share in shares(SKEWED).items():
        shown = np.array([n in face.grades for face in faces])
        seen = np.array([n in aus for aus in read])
        error = 4 * np.sqrt(share / 8000)
        assert seen.mean() == pytest.approx(shown.mean(), abs=error + 0.05 * share), n
        lost, added = (shown & ~seen).mean(), (seen & ~shown).mean()
        assert lost == pytest.approx(0.1 * share, abs=error), n
        assert added == pytest.approx(0.1 * share, abs=error), n
    labels = Counter(CODER.emotion(face.emotion, rng) for face in faces)
    for word, chance in zip(EMOTIONS, SKEWED.emotions, strict=True):
        assert labels[word] / 8000 == pytest.approx(chance, abs=5 * np.sqrt(chance / 8000))


def test_labels_err_and_pictures_do_not(tmp_path: Path) -> None:
    clean, noisy = (write_faces(tmp_path / str(noise), 60, 2, size=28, noise=noise) for noise in (0.0, 0.4))
    images = [[image.read_bytes() for image in sorted((file.parent / "images").iterdir())] for file in (clean, noisy)]
    assert images[0] == images[1]
    pairs = list(zip(rows(clean), rows(noisy), strict=True))
    assert 5 < sum(a["labels"] != b["labels"] for a, b in pairs) < 40
    assert sum(a["AUs"] != b["AUs"] for a, b in pairs) > 40
    for true, row in pairs:
        assert row["AUs"] == list(row["AU_intensities"]) == sorted(row["AUs"], key=lambda code: int(code[2:]))
        assert all(true["AU_intensities"].get(code, grade) == grade for code, grade in row["AU_intensities"].items())
        answer = parse(row["description"])
        assert ({f"AU{n}" for n in answer.aus}, [answer.emotion]) == (set(row["AUs"]), row["labels"])


# --- as a data module ---


def test_sets_of_a_world_have_folders_of_their_own_and_only_training_faces_err(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("units: {AU9: 0.1}\n")
    sizes: dict[str, Any] = {"train_faces": 6, "val_faces": 4, "test_faces": 5}

    def names(**world: Any) -> list[str]:
        return [
            where.name
            for where, _ in RenderedFaces(str(tmp_path), **sizes, world=WorldSettings(**world)).drawn.values()
        ]

    assert names() == ["none-0-6", "val-4", "test-5"]
    assert names(prior="skewed", people=2, noise=0.5) == [
        "none-0-6-skewed-2-people-0.5-noise", "val-4-skewed-2-people", "test-5-skewed-2-people",
    ]  # fmt: skip
    first = names(prior=str(tmp_path / "p.yaml"))
    (tmp_path / "p.yaml").write_text("units: {AU9: 0.2}\n")
    assert not set(first) & set(names(prior=str(tmp_path / "p.yaml"))) | set(first) & set(names())
    data = RenderedFaces(str(tmp_path), **sizes, world=WorldSettings("skewed", 2, 0.5))
    drawn = {name: rows(data.draw(name)) for name in ("train", "val", "test")}
    assert isinstance(data, FEADataModule)
    clean = rows(write_faces(tmp_path / "clean", 4, 1_000_001, "none", prior="skewed", people=2))
    assert drawn["val"] == clean
    people = [{row["meta_info"]["subject"] for row in found} for found in drawn.values()]
    assert len(set.union(*people)) == sum(map(len, people)) == 6
    assert {code for row in drawn["train"] for code in row["AUs"]} <= {f"AU{n}" for n in DRAWN_AUS}
