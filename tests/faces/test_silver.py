"""`fea data silver` on measurements that lie in a file: which lines come out, and what is left as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converting import check, text
from measured import face_image, row, table

from fea.cli import main
from fea.faces.blendshapes import NAMES, Shapes

UNITS = [f"AU{n}" for n in (1, 2, 4, 5, 6, 12, 17, 20, 25, 27)]
SMILE = {"mouthSmile": 0.7, "eyeSquint": 0.6, "jawOpen": 0.2}
AWE = {"browInnerUp": 0.6, "browOuterUp": 0.5, "eyeWide": 0.4, "jawOpen": 0.5}


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Photographs, of which one shows nobody, one two people, and one is damaged; and what was measured on them."""
    root = tmp_path / "album"
    names = ["a.png", "b/c.png", "b/d.png", "e.png"]
    images = [face_image(root / name, number) for number, name in enumerate(names)]
    faces: list[list[dict[str, float]]] = [[SMILE], [AWE], [], [SMILE, AWE]]
    (root / "f.jpg").write_bytes(b"\xff\xd8\xff no picture")
    table(tmp_path / "m.jsonl", [row(image, *of) for image, of in zip(images, faces, strict=True)])
    return root


def silver(*words: object) -> int:
    return main(["data", "silver", *map(str, words)])


def test_photographs_become_lines(album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = album.parent / "o.jsonl"
    assert silver(album, "-o", out, "--measured", album.parent / "m.jsonl") == 0
    told = capsys.readouterr().out
    meta = {
        "source": "blendshape-rule",
        "thresholds": {
            "AU1": 0.1, "AU2": 0.2, "AU4": 0.2, "AU5": 0.03, "AU6": 1.15, "AU12": 0.5, "AU17": 0.03, "AU20": 0.3, "AU25": 0.1,
            "AU27": 0.3,
        },
    }  # fmt: skip
    rest = {"AUs_coded": UNITS, "labels": [], "meta_info": meta}
    assert lines_of(out) == [
        {"id": "a.png", "image": "album/a.png", "AUs": ["AU6", "AU12", "AU25"], **rest},
        {"id": "b/c.png", "image": "album/b/c.png", "AUs": ["AU1", "AU2", "AU5", "AU25", "AU27"], **rest},
    ]
    assert "2 faces of 5 rows" in told
    assert "left out: 3 rows" in told
    assert "  1 x no face was found (the first: '" in told
    assert "  1 x there are several faces in the image (the first: '" in told
    assert "  1 x the image cannot be read (the first: image '" in told
    assert "f.jpg" in told
    assert "AU6 shows where eyeSquint + mouthSmile > 1.15" in told
    assert check(capsys, out)[0] == 0
    again = album.parent / "again.jsonl"
    assert silver("photos", album, "-o", again, "--measured", album.parent / "m.jsonl") == 0
    assert again.read_bytes() == out.read_bytes()


@pytest.fixture
def mixed(album: Path) -> Path:
    """Lines of one data set: some that people have coded, with and without a list of what they looked for, some bare."""
    records = [
        {"id": "1", "dataset": "mine", "image": "a.png", "labels": ["happiness"], "meta_info": {"subject": "S1"}},
        {"id": "2", "dataset": "mine", "image": "b/c.png", "AUs": ["AU9"], "labels": []},
        {"id": "3", "dataset": "mine", "image": "b/d.png", "AUs": [], "AUs_coded": ["AU12"], "labels": ["neutral"]},
        {"id": "4", "dataset": "mine", "image": "e.png", "labels": ["fear"]},
        {"id": "5", "dataset": "other", "image": "e.png", "AUs": ["AU12"], "labels": [], "meta_info": {"source": "openface"}},
    ]  # fmt: skip
    return text(album / "mixed.jsonl", *map(json.dumps, records))


def test_what_people_coded_stays_and_emotions_are_not_made_up(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = mixed.parent / "o.jsonl"
    assert silver(mixed, "-o", out, "--measured", mixed.parents[1] / "m.jsonl") == 0
    told = capsys.readouterr().out
    one, two, three, five = lines_of(out)
    assert (one["AUs"], one["AUs_coded"], one["labels"]) == (["AU6", "AU12", "AU25"], UNITS, ["happiness"])
    assert one["meta_info"]["subject"] == "S1"
    # Whoever coded AU9 never looked for AU1: the units of the other lines must not become absent in this one.
    assert (two["AUs"], two["AUs_coded"], two["labels"]) == (["AU9"], ["AU9", "AU12"], [])
    assert (three["AUs"], three["AUs_coded"]) == ([], ["AU12"])
    assert (five["AUs"], five["AUs_coded"], five["meta_info"]) == (["AU12"], ["AU12"], {"source": "openface"})
    assert "meta_info" not in two
    assert "1 faces have silver Action Units" in told
    assert "3 faces keep the Action Units that they came with" in told
    assert "  1 x there are several faces in the image" in told


def test_a_source_that_was_given_is_kept_beside(album: Path) -> None:
    given = {"id": "1", "image": "a.png", "labels": ["happiness"], "meta_info": {"source": "web"}}
    file, out = text(album / "web.jsonl", json.dumps(given)), album / "o.jsonl"
    assert silver(file, "-o", out, "--measured", album.parent / "m.jsonl") == 0
    meta = lines_of(out)[0]["meta_info"]
    assert (meta["source"], meta["source_given"]) == ("blendshape-rule", "web")


def test_a_limit_and_a_dry_run(album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = album.parent / "m.jsonl"
    before = measured.read_bytes()
    assert silver(album, "-o", album.parent / "o.jsonl", "--measured", measured, "--limit", 1) == 0
    assert len(lines_of(album.parent / "o.jsonl")) == 1
    assert silver(album, "--measured", measured, "--dry-run") == 0
    assert "2 faces of 5 rows; a dry run, nothing was written" in capsys.readouterr().out
    assert measured.read_bytes() == before
    assert sorted(path.name for path in album.parent.iterdir()) == ["album", "m.jsonl", "o.jsonl"]


class Counting:
    """Measures a smile on every image, and counts; as MediaPipe would."""

    def __init__(self) -> None:
        self.measured = 0

    def measure(self, image: object) -> Shapes:
        self.measured += 1
        return np.array([[SMILE.get(name.removesuffix("Left").removesuffix("Right"), 0.0) for name in NAMES]])

    def close(self) -> None:
        self.measured += 1000


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    one = Counting()
    monkeypatch.setattr("fea.faces.landmarker.Landmarker", lambda file: one)
    return one


def test_what_was_measured_is_not_measured_again(
    album: Path, counting: Counting, capsys: pytest.CaptureFixture[str]
) -> None:
    out = album.parent / "o.jsonl"
    assert silver(album, "-o", out, "--face-model", "m") == 0
    assert counting.measured == 4 + 1000  # five images, of which one cannot be read; then it was closed
    assert "'%s', 4 of them new" % (album.parent / "o.measured.jsonl") in capsys.readouterr().out
    kept = album.parent / "o.measured.jsonl"
    content = kept.read_bytes()
    kept.write_bytes(content[: content.index(b"\n", len(content) // 2) + 40])  # as a kill leaves it
    lines = out.read_bytes()
    out.unlink()
    counting.measured = 0
    assert silver(album, "-o", out, "--face-model", "m") == 0
    assert 0 < counting.measured % 1000 < 4
    assert out.read_bytes() == lines
    assert kept.read_bytes() == content
    counting.measured = 0
    assert silver(album, "-o", album.parent / "p.jsonl", "--measured", kept) == 0
    assert counting.measured == 0


def test_without_anyone_to_measure_it_says_what_is_missing(album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = album.parent / "o.jsonl"
    assert silver(album, "-o", out) == 2
    assert "face_model: no file is given; name face_landmarker.task with --face-model" in capsys.readouterr().err
    assert silver(album, "-o", out, "--face-model", album / "a.png") == 2
    assert "a.png' is another file than the one that the rules were made with (SHA-256" in capsys.readouterr().err
    face_image(album / "new.png", 99)
    assert silver(album, "-o", out, "--measured", album.parent / "m.jsonl") == 2
    error = capsys.readouterr().err
    assert "new.png' is not in '" in error
    assert error.count("\n") <= 3  # progress may be told before
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "place"),
    [("{}\n", 1), (json.dumps({"blendshapes": NAMES}) + "\n{}\n", 2), (json.dumps({"blendshapes": ["a"]}) + "\n", 1)],
)
def test_another_file_is_no_file_of_measurements(
    content: str, place: int, album: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = album.parent / "other.jsonl"
    other.write_text(content)
    assert silver(album, "-o", album.parent / "o.jsonl", "--measured", other) == 2
    assert f"{other}:{place}: no measurement of blendshapes" in capsys.readouterr().err
    assert other.read_text() == content


@pytest.fixture
def coded(tmp_path: Path) -> Path:
    """Coded faces of people: AU12 follows from the smile, AU1 from brows that are raised further than the rule asks."""
    chance = np.random.default_rng(1)
    records, rows = [], []
    for number in range(80):
        smile, brow = chance.random(2)
        image = face_image(tmp_path / f"faces/{number}.png", number)
        shown = [*["AU12"] * bool(smile > 0.4), *["AU1"] * bool(brow > 0.6)]
        meta = {"subject": f"P{number % 10}"}
        one = {
            "id": str(number),
            "image": image.name,
            "AUs": shown,
            "AUs_coded": ["AU1", "AU12", "AU26"],
            "meta_info": meta,
        }
        records.append({**one, "labels": []})
        rows.append(row(image, *[{"mouthSmile": round(smile, 4), "browInnerUp": round(brow, 4)}] * (number != 5)))
    records[7]["meta_info"] = {"source": "openface"}  # a program's word is not learned from
    table(tmp_path / "m.jsonl", rows)
    return text(tmp_path / "faces/coded.jsonl", *map(json.dumps, records))


def test_a_readout_is_learned_and_used(coded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, measured = coded.parents[1], coded.parents[1] / "m.jsonl"
    readout = folder / "readout.json"
    assert silver("--fit", coded, "-o", readout, "--measured", measured) == 0
    told = capsys.readouterr().out
    assert "learned from 78 coded faces of 10 people" in told
    assert "not learned: AU26 (0 faces with it and 78 without; 10 of each are needed)" in told
    assert "left out: 1 x no face was found (the first: '" in told
    table_of = {line.split()[0]: line.split() for line in told.splitlines() if line.startswith("AU")}
    assert (
        float(table_of["AU1"][-2]) > 0.9 > float(table_of["AU1"][-1]) > 0.4
    )  # the rule asks for .1, these coders for .6
    stored = json.loads(readout.read_text())
    assert (stored["kind"], stored["version"], stored["faces"], stored["people"]) == (
        "fea blendshape readout",
        1,
        78,
        10,
    )
    assert list(stored["units"]) == ["AU1", "AU12"]
    assert set(stored["units"]["AU1"]["weights"]) == {"browInnerUp", "mouthSmileLeft", "mouthSmileRight"}
    assert silver("--fit", coded, "-o", folder / "again.json", "--measured", measured) == 0
    assert (folder / "again.json").read_bytes() == readout.read_bytes()

    face_image(folder / "new/x.png", 5)  # the same bytes as an image in which nobody was found
    face_image(folder / "new/y.png", 6)
    assert silver(folder / "new", "-o", folder / "s.jsonl", "--readout", readout, "--measured", measured) == 0
    (line,) = lines_of(folder / "s.jsonl")
    assert line["AUs_coded"] == ["AU1", "AU12"]
    assert set(line["AUs"]) == set(lines_of(coded)[6]["AUs"])
    assert line["meta_info"]["source"] == "blendshape-readout"
    assert len(line["meta_info"]["readout"]) == 12
    assert "of 2 units; all others are unknown" in capsys.readouterr().out


def test_a_readout_needs_coded_faces(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = mixed.parents[1] / "m.jsonl"
    bare = text(mixed.parent / "bare.jsonl", json.dumps({"image": "a.png"}))
    assert silver("--fit", bare, "-o", mixed.parent / "r.json", "--measured", measured) == 2
    assert "holds no face whose Action Units people have coded; give a file" in capsys.readouterr().err
    assert silver("--fit", mixed, "-o", mixed.parent / "r.json", "--measured", measured) == 2
    assert "no unit has 10 coded faces with it and 10 without" in capsys.readouterr().err
    assert not (mixed.parent / "r.json").exists()


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '{"kind": "fea blendshape readout", "version": 2, "units": {"AU1": {}}}']
)
def test_another_file_is_no_readout(content: str, album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = album.parent / "r.json"
    file.write_text(content)
    assert silver(album, "-o", album.parent / "o.jsonl", "--readout", file, "--measured", album.parent / "m.jsonl") == 2
    assert f"'{file}' is no readout; make one with `fea data silver --fit`" in capsys.readouterr().err


def test_settings_that_contradict_each_other(album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert silver("--fit", album, "-o", "r.json", "--readout", "x.json") == 2
    assert "fit makes a readout and readout uses one" in capsys.readouterr().err
    assert silver("--fit", album) == 2
    assert "name the file to be written: -o readout.json" in capsys.readouterr().err
    assert silver(album, "-o", "x.jsonl", "--limit", 0) == 2


@pytest.mark.skipif(not os.environ.get("FEA_FACE_MODEL"), reason="FEA_FACE_MODEL names no face_landmarker.task")
def test_mediapipe_measures_what_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand, where mediapipe is installed: FEA_FACE_MODEL=face_landmarker.task pytest -n 0 tests/faces."""
    pytest.importorskip("mediapipe")
    assert main(["data", "faces", str(tmp_path / "drawn"), "--n", "12", "--size", "224"]) == 0
    records = lines_of(tmp_path / "drawn/faces.jsonl")
    text(tmp_path / "drawn/bare.jsonl", *(json.dumps({"id": r["id"], "image": r["image"]}) for r in records))
    words = [tmp_path / "drawn/bare.jsonl", "--face-model", os.environ["FEA_FACE_MODEL"]]
    assert silver(*words, "-o", tmp_path / "o.jsonl") == 0
    assert silver(*words, "-o", tmp_path / "p.jsonl") == 0
    assert (tmp_path / "o.jsonl").read_bytes() == (tmp_path / "p.jsonl").read_bytes()
    assert (tmp_path / "o.measured.jsonl").read_bytes() == (tmp_path / "p.measured.jsonl").read_bytes()
    found = {line["id"]: line for line in lines_of(tmp_path / "o.jsonl")}
    assert len(found) >= 10  # it is made for photographs, and knows a drawing for a face
    smiles = [
        ("AU12" in record["AUs"], "AU12" in found[record["id"]]["AUs"]) for record in records if record["id"] in found
    ]
    assert sum(drawn == read for drawn, read in smiles) >= 0.7 * len(smiles)
