"""`fea analyze` on photographs: the faces in them, what is shown of each, and a row for everything."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photographed import analyzer_of, person, photograph
from PIL import Image

from fea.analysis.analyzer import Analyzer
from fea.cli import main
from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.faces.crops import cropped
from fea.faces.detectors import detector
from fea.images.opening import load_image
from fea.prompts.answer import render

pytest_plugins = ("photographing",)

Says = Callable[[Callable[[Prompt, int], str]], list[list[str]]]


def run(folder: Path, out: Path, *more: str) -> int:
    return main(["analyze", str(folder), "--model", "owner/model", "--out", str(out), "--max_tokens", "4", *more])


def test_every_face_has_a_row_and_an_image_without_one_says_so(
    loaded: Analyzer, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(album, tmp_path / "a.csv", "--faces", "all", "--batch-size", "2", "--num-workers", "1") == 2
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["a-two.png", "a-two.png", "b-one.png", "c-nobody.png", "d-damaged.png", "e-turned.jpg"]
    assert [Path(row["image"]).name for row in rows] == names
    assert [row["face_id"] for row in rows] == ["0", "1", "0", "", "", "0"]
    assert [row["error"] for row in rows[:4]] == ["", "", "", "no face"]
    assert "cannot be read" in rows[4]["error"]
    centers = [
        [int(row[a]) + int(row[b]) // 2 for a, b in (("x", "width"), ("y", "height"))] for row in rows if row["x"]
    ]
    assert np.allclose(centers, [(470, 200), (110, 280), (220, 220), (220, 220)], atol=20)  # the last is upright
    assert "5/5" in capsys.readouterr().err


def test_an_image_without_a_face_is_no_failure(loaded: Analyzer, album: Path, tmp_path: Path) -> None:
    assert run(album / "c-nobody.png", tmp_path / "a.jsonl", "--faces", "largest") == 0
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {
        "image": str(album / "c-nobody.png"), "AUs": [], "emotion": "", "reasoning": "", "valid": False, "text": "",
        "error": "no face", "face_id": 0, "box": None, "score": None,
    }  # fmt: skip


def test_what_is_shown_is_the_square_around_the_face(analyzer: Analyzer, album: Path, says: Says) -> None:
    seen: list[Prompt] = []
    says(lambda prompt, _: seen.append(prompt) or "")
    two = album / "a-two.png"
    analyzer.analyze(two, faces="largest")
    results = analyzer.analyze(two, faces="all")
    image = load_image(str(two), "x")
    boxes = [face.box for face in detector().find(image)]
    assert [result.box for result in results] == boxes
    example = seen[0].example
    for prompt, box in zip(seen, [boxes[0], *boxes], strict=True):
        expected = analyzer.policy.encoder.of(example, cropped(image, box))
        assert prompt.pixels.equal(expected.pixels)


def test_a_model_that_was_trained_on_faces_is_shown_faces(
    album: Path, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training and in use the same pixels, and the setting of training is that of use."""
    seen: list[Prompt] = []
    says(lambda prompt, _: seen.append(prompt) or "")
    trained = analyzer_of(faces="largest")
    (result,) = trained.analyze(album / "a-two.png")
    assert result.box is not None
    example = Example(
        "1", "", str(album / "a-two.png"), "f:1", "", None, frozenset(), (), (), None, {}, None, None, "{}"
    )
    encoder = trained.policy.encoder
    assert encoder(example).pixels.equal(seen[0].pixels)
    mirrored = np.asarray(encoder.picture(example._replace(flipped=True)))
    assert (mirrored == np.asarray(encoder.picture(example))[:, ::-1]).all()
    whole = trained.analyze(album / "a-two.png", faces="none")
    assert whole[0].box is None
    assert not seen[1].pixels.equal(seen[0].pixels) or seen[1].grid.tolist() != seen[0].grid.tolist()


def test_settings_that_differ_from_training_are_told(
    loaded: Analyzer, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = album / "b-one.png"
    run(one, tmp_path / "a.csv", "--faces", "largest")
    assert "note: this model was trained on images as they are (policy.faces: none)" in capsys.readouterr().err
    run(one, tmp_path / "a.csv")
    assert "note" not in capsys.readouterr().err
    config = loaded.policy.config
    loaded.policy.config = replace(config, faces="largest")
    try:
        run(one, tmp_path / "a.csv", "--faces", "none")
        assert "note: this model was trained on faces that were cut out" in capsys.readouterr().err
        run(one, tmp_path / "a.csv")
        assert "note" not in capsys.readouterr().err
    finally:
        loaded.policy.config = config


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--faces", "none", "--face-model", "x.onnx"], "face_model: faces are not looked for with faces none"),
        (["--faces", "all", "--face-model", "x.onnx"], "face_model: 'x.onnx' does not exist"),
        (["--samples", "-1"], "samples: -1; give a number of answers up to 1000, or 0 for the likeliest one"),
        (["--samples", "1000000000"], "samples: 1000000000; give a number of answers up to 1000"),
        (["--max-tokens", "1000000000"], "max_tokens: 1000000000; give at most 32768"),
        (["--every", "0"], "every: 0; give at least 1"),
        (["--resume"], "resume: answers that are printed cannot be gone on with"),
        (["--out", "a.jsonl", "--format", "pyfeat"], "format: 'pyfeat' is a table"),
    ],
)
def test_what_cannot_be_done_is_told_before_a_model_is_read(
    album: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert main(["analyze", str(album), "--model", "nowhere", *more]) == 2
    assert told in capsys.readouterr().err


# --- several answers ---


def test_answers_are_counted_and_one_of_the_majority_speaks(analyzer: Analyzer, album: Path, says: Says) -> None:
    texts = [
        render("A smile (AU12).", "sadness"), render("Cheeks up (AU6), a smile (AU12).", "happiness"), "<think>AU4",
        render("A smile (AU12).", "happiness"),
    ]  # fmt: skip
    says(lambda _, number: texts[number])
    results = analyzer.analyze(album / "b-one.png", samples=4)
    (result,) = results
    assert (result.votes, result.emotion_votes) == ({"AU6": 0.25, "AU12": 0.75}, {"happiness": 0.5, "sadness": 0.25})
    assert (result.text, result.emotion, result.aus) == (texts[3], "happiness", ("AU12",))
    frame = results.to_frame()
    assert frame[["vote_AU6", "vote_AU12", "vote_AU4", "vote_happiness", "vote_fear"]].iloc[0].tolist() == [
        0.25, 0.75, 0.0, 0.5, 0.0,
    ]  # fmt: skip


def test_votes_do_not_depend_on_what_stands_beside(analyzer: Analyzer, album: Path) -> None:
    names = [album / "a-two.png", album / "b-one.png"]
    together = analyzer.analyze(names, samples=3, faces="all", max_tokens=5)
    alone = [
        one for name in names for one in analyzer.analyze(name, samples=3, faces="all", max_tokens=5, batch_size=1)
    ]
    assert together == alone
    assert analyzer.analyze(names[1], max_tokens=5)[0].votes is None


def test_units_of_a_model_that_names_none_are_unknown_and_not_absent(album: Path, says: Says) -> None:
    quick = analyzer_of(answer="only")
    says(lambda *_: "<answer>happiness</answer>")
    results = quick.analyze(album / "b-one.png", samples=2)
    assert (results[0].emotion, results[0].valid) == ("happiness", True)
    record = results.layout.record(results[0])
    assert (record["AUs"], record["votes"], record["emotion_votes"]) == (None, None, {"happiness": 1.0})
    assert not [name for name in results.to_frame().columns if name.startswith("vote_AU")]
    assert results.to_frame("pyfeat")[["AU12", "happiness"]].isna().iloc[0].tolist() == [True, False]


# --- in Python ---


def test_pictures_in_memory_are_read_as_their_files(analyzer: Analyzer, album: Path) -> None:
    upright = load_image(str(album / "e-turned.jpg"), "x")
    given = [Image.open(album / "e-turned.jpg"), np.asarray(upright), str(album / "e-turned.jpg")]
    results = analyzer.analyze(given, faces="all", max_tokens=5)
    assert [result.image for result in results] == ["image 0", "image 1", str(album / "e-turned.jpg")]
    first, *others = (result._replace(image="") for result in results)
    assert others == [first] * len(others)
    assert analyzer.analyze(person(1, 112), max_tokens=5)[0].text


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros((4, 4), np.uint8), r"an array of uint8 and of shape \(4, 4\); give \(height, width, 3\) of uint8"),
        (np.zeros((4, 4, 3)), "an array of float64"),
        (np.zeros((0, 4, 3), np.uint8), r"of shape \(0, 4, 3\)"),
        (np.zeros((1, 300, 3), np.uint8), "image 0 of 300 x 1 pixels is no picture of a face; crop it"),
        (Image.new("L", (300, 1)), "image 0 of 300 x 1 pixels is no picture of a face"),
        (3, "image 0 is of type int; give a path, an array or a picture of Pillow"),
    ],
)
def test_what_is_no_picture_is_refused(analyzer: Analyzer, array: Any, told: str) -> None:
    with pytest.raises(FEAError, match=told):
        analyzer.analyze([array])


def test_threads_may_share_a_model(analyzer: Analyzer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    pictures = [photograph((person(number, 112), (0, 0)), size=(112, 112)) for number in range(4)]
    expected = [analyzer.analyze(picture, max_tokens=4) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda picture: analyzer.analyze(picture, max_tokens=4), pictures * 3)) == expected * 3


def test_a_model_answers_one_thread_at_a_time(analyzer: Analyzer, says: Says) -> None:
    held = []
    says(lambda *_: held.append(analyzer._lock.locked()) or "")
    analyzer.analyze(person(1, 112))
    assert held == [True]
    assert not analyzer._lock.locked()
