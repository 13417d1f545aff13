"""Answers that were made elsewhere: which face each belongs to, what is told of the rest, and tables of peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scoring import run, write
from sklearn.metrics import f1_score

UNITS = (1, 2, 4, 6, 9, 12, 25, 26)
OWN = "<think>{}</think><answer>{}</answer>"


def label(name: str, units: list[str], subject: str = "SN001") -> dict[str, Any]:
    return {
        "id": name, "dataset": "DISFA", "image": f"{subject}/{name}.png", "labels": [], "AUs": units,
        "AUs_coded": [f"AU{unit}" for unit in UNITS], "meta_info": {"subject": subject},
    }  # fmt: skip


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Six faces of two people of one fold."""
    shown = [["AU12"], ["AU4"], ["AU12", "AU6"], [], ["AU1", "AU2"], ["AU4"]]
    rows = [label(f"{n:04d}", units, ("SN001", "SN002")[n // 3]) for n, units in enumerate(shown)]
    return write(tmp_path / "labels.jsonl", *rows)


@pytest.mark.parametrize("key", ["text", "answer", "output", "response", "prediction", "generated_text"])
def test_a_text_is_found_under_the_names_that_people_use(
    key: str, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [
        {"id": "0000", key: OWN.format("AU12", "neutral")},
        {"question_id": "0001", key: OWN.format("AU4", "neutral")},
    ]
    found = run(
        capsys, write(tmp_path / "a.jsonl", *said), "--protocol", "disfa-8", "--labels", labels, out=tmp_path / "o"
    )
    assert (found.metrics["units"]["AU12"]["precision"], found.metrics["units"]["AU4"]["recall"]) == (1, 0.5)


def test_what_could_not_be_matched_is_counted_and_named(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = write(
        tmp_path / "a.jsonl",
        {"id": "0000", "text": OWN.format("AU12", "neutral")},
        {"id": "0000", "text": OWN.format("AU4", "neutral")},  # twice
        {"image": "SN001/0001.png", "text": OWN.format("AU4", "neutral")},  # by the image
        {"image": "C:\\elsewhere\\SN001\\0002.png", "text": OWN.format("AU12, AU6", "neutral")},  # of another machine
        {"id": "0003", "text": "I cannot help with that."},
        {"id": "stranger", "text": OWN.format("AU12", "neutral")},
        {"text": OWN.format("AU12", "neutral")},
        {"id": "0005"},
    )
    with said.open("a") as stream:
        stream.write("no JSON\n")
    ran = run(capsys, said, "--protocol", "disfa-8", "--labels", labels, out=tmp_path / "out")
    unmatched = {reason: (of["count"], of["examples"]) for reason, of in ran.metrics["unmatched"].items()}
    place = lambda number: f"{said}:{number}"  # noqa: E731
    assert unmatched == {
        "the face has an answer already (the first counts)": (1, ["0000"]),
        "no face has this id or image (not judged)": (1, ["stranger"]),
        "the line names neither an id nor an image": (1, [place(7)]),
        "the line has neither a text (text, answer, output, response, ...) nor AUs nor an emotion": (1, [place(8)]),
        "the line is no JSON object": (1, [place(9)]),
        "no answer about the face (counts as wrong)": (2, ["0004", "0005"]),
        "the text says nothing that can be read (counts as wrong)": (1, ["0003"]),
        "folds without a face": (2, ["1", "2"]),
    }
    assert all(f"{count} x {reason}" in ran.told for reason, (count, _) in unmatched.items())
    assert ran.metrics["faces"] == 6
    assert ran.metrics["units"]["AU4"]["recall"] == 0.5  # the second answer about 0000 does not count
    assert ran.metrics["units"]["AU6"]["f1"] == 1


def test_the_end_of_a_path_that_several_answers_have_is_nobodys(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = write(
        tmp_path / "a.jsonl",
        *({"image": f"/data/{folder}/0004.png", "text": OWN.format("AU1", "neutral")} for folder in ("x", "y")),
        {"id": "0001", "text": OWN.format("AU4", "neutral")},
    )
    ran = run(capsys, said, "--protocol", "disfa-8", "--labels", labels, out=tmp_path / "out")
    assert ran.metrics["unmatched"]["the image may be that of several faces (not judged)"]["count"] == 2
    assert ran.metrics["units"]["AU1"]["recall"] == 0


def test_nothing_in_common_is_refused(labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = write(tmp_path / "a.jsonl", {"id": "x1", "text": "AU1"}, {"id": "x2", "text": "AU1"})
    ran = run(capsys, said, "--protocol", "disfa-8", "--labels", labels)
    assert ran.code == 2
    assert "belongs to a face of the labels: 2 x no face has this id or image (not judged), such as x1" in ran.error


def test_without_labels_only_predictions_are_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, write(tmp_path / "a.jsonl", {"id": "1", "text": "AU1"}), "--protocol", "disfa-8")
    assert "holds no labels; name the file with the truth, --labels FILE.jsonl" in ran.error


def test_free_text_is_right_only_where_it_is_read_leniently(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"id": str(n), "dataset": "CK+", "image": f"{n}.png", "labels": ["anger"], "AUs": ["AU4"]} for n in range(12)
    ]
    said = [{"id": str(n), "text": "The brows are lowered (AU4). Emotion: anger"} for n in range(12)]
    files = write(tmp_path / "a.jsonl", *said), write(tmp_path / "l.jsonl", *rows)
    for lenient in (False, True):
        words = [files[0], "--protocol", "ck+", "--labels", files[1], *["--lenient"] * lenient]
        found = run(capsys, *words, out=tmp_path / f"out{lenient}").metrics
        names = ("au_f1", "au_exact", "accuracy", "format")
        assert [found["scores"][name] for name in names] == [lenient, lenient, lenient, 0]
        assert found["lenient"] is lenient
        silent = "the text says nothing that can be read (counts as wrong)"
        assert (silent in found["unmatched"]) is not lenient


# --- tables -----------------------------------------------------------------------------------------------------------

CLAIMS = [{12}, {4, 12}, {6, 12}, {1}, {1, 2}, set[int]()]
TRUTH = [{12}, {4}, {6, 12}, set[int](), {1, 2}, {4}]


def openface(claims: set[int]) -> list[str]:
    return [
        *(f"{2.5 if unit in claims else 0.1}" for unit in UNITS[:7]),
        *(str(int(unit in claims)) for unit in UNITS[:7]),
    ]


def table_of(kind: str) -> list[str]:
    names = [f"SN00{n // 3 + 1}/{n:04d}.png" for n in range(6)]
    if kind == "openface":
        heads = [f"AU{u:02d}_r" for u in UNITS[:7]] + [f"AU{u:02d}_c" for u in UNITS[:7]]
        rows = [[name, "1", "0.98", *openface(claims)] for name, claims in zip(names, CLAIMS, strict=True)]
        return [", ".join(["file", "success", "confidence", *heads]), *(",".join(row) for row in rows)]
    if kind == "py-feat":
        heads = ["input", "FaceRectX", *(f"AU{u:02d}" for u in UNITS), "anger", "happiness", "sadness"]
        rows = [
            [name, "3", *(f"{0.9 if u in claims else 0.2}" for u in UNITS), "0.1", "0.8", "0.1"]
            for name, claims in zip(names, CLAIMS, strict=True)
        ]
    elif kind == "libreface":
        heads = [
            "input_image_path",
            *(f"au_{u}" for u in UNITS),
            *(f"au_{u}_intensity" for u in UNITS),
            "facial_expression",
        ]
        rows = [
            [
                name,
                *(str(int(u in claims)) for u in UNITS),
                *(f"{3.1 if u in claims else 0.4}" for u in UNITS),
                "Happiness",
            ]
            for name, claims in zip(names, CLAIMS, strict=True)
        ]
    elif kind == "own":
        heads = ["id", *(f"AU{u}" for u in UNITS)]
        rows = [[f"{n:04d}", *(str(int(u in claims)) for u in UNITS)] for n, claims in enumerate(CLAIMS)]
    else:
        heads = ["id", "output"]
        rows = [
            [f"{n:04d}", OWN.format(" ".join(f"AU{u}" for u in sorted(c)), "neutral")] for n, c in enumerate(CLAIMS)
        ]
    return [",".join(heads), *(",".join(row) for row in rows)]


@pytest.mark.parametrize("kind", ["openface", "py-feat", "libreface", "own", "texts"])
def test_a_table_is_scored_without_its_images(
    kind: str, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"{kind}.csv"
    file.write_text("\n".join(table_of(kind)) + "\n")
    ran = run(capsys, file, "--protocol", "disfa-8", "--labels", labels, out=tmp_path / "out")
    known = UNITS[:7] if kind == "openface" else UNITS
    truth = np.array([[u in shown for u in UNITS] for shown in TRUTH])
    said = np.array([[u in claims and u in known for u in UNITS] for claims in CLAIMS])
    expected = f1_score(truth, said, average=None, zero_division=0)
    assert [ran.metrics["units"][f"AU{u}"]["f1"] for u in UNITS] == pytest.approx(expected, abs=1e-9)
    assert ran.metrics["scores"]["au_f1"] == pytest.approx(expected.mean(), abs=1e-9)
    missing = ran.metrics["unmatched"].get("there is no column for the unit (counts as not claimed)")
    assert missing == ({"count": 1, "examples": ["AU26"]} if kind == "openface" else None)
    assert ("format" in ran.metrics["scores"]) == (kind == "texts")
    assert ran.metrics["scores"]["au_exact"] == pytest.approx((truth == said).all(axis=1).mean())
    assert "no answer about the face (counts as wrong)" not in ran.metrics["unmatched"]


def test_tables_that_are_called_like_their_images(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "face, confidence, AU12_c, AU04_c, AU12_r"
    files = []
    for number, claims in enumerate(CLAIMS):
        files.append(tmp_path / f"{number:04d}.csv")
        files[-1].write_text(f"{head}\n0, 0.9, {int(12 in claims)}, {int(4 in claims)}, 1.5\n")
    found = run(capsys, *files, "--protocol", "disfa-8", "--labels", labels, out=tmp_path / "out").metrics
    assert found["units"]["AU12"]["f1"] == pytest.approx(f1_score([12 in t for t in TRUTH], [12 in c for c in CLAIMS]))
    assert "no answer about the face (counts as wrong)" not in found["unmatched"]


def test_a_table_without_emotions_is_not_wrong_about_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"id": f"{n:04d}", "dataset": "CK+", "image": f"{n:04d}.png", "labels": ["happiness"], "AUs": ["AU12"]}
        for n in range(12)
    ]
    file = tmp_path / "own.csv"
    file.write_text("image,AU12,AU4\n" + "".join(f"{n:04d}.png,{int(n < 6)},1\n" for n in range(12)))
    words = [file, "--protocol", "ck+", "--labels", write(tmp_path / "l.jsonl", *rows)]
    found = run(capsys, *words, out=tmp_path / "out").metrics
    assert "accuracy" not in found["scores"]
    assert found["scores"]["au_f1"] == pytest.approx(2 * 6 / (6 + 12))
    # and the other way round
    file.write_text("image,emotion\n" + "".join(f"{n:04d}.png,{'Happy' if n < 3 else 'sad'}\n" for n in range(12)))
    found = run(capsys, *words, out=tmp_path / "two").metrics
    assert found["scores"]["accuracy"] == 0.25
    assert "au_f1" not in found["scores"]
