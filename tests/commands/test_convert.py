"""`fea data convert`: what is said, what is refused, and that a second run writes the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from converting import check, convert, passes, picture, text

from fea.cli import main
from fea.datasets.known import FORMATS


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [("a", "happy", 0, 1), ("b", "sad", 1, 0), ("c", "happy", 0, 0), ("d", "fear", 1, 1), ("e", "", 1, 0)]
    for name, *_ in rows:
        picture(tmp_path / f"{name}.png")
    lines = [f"{name}.png,{emotion},{four},{twelve},{split}" for (name, emotion, four, twelve), split in zip(
        rows, ("train", "train", "train", "test", "train"), strict=True
    )]  # fmt: skip
    return text(tmp_path / "t.csv", "image,emotion,AU4,AUL12,split", *lines)


def test_all_formats_of_the_help_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["data", "convert", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("-\n", "-").split())
    assert [name for name in FORMATS if f"{name}" not in shown] == []
    assert len(FORMATS) == 20


def test_a_limit_and_a_dry_run(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = convert(capsys, tmp_path / "two.jsonl", "csv", table, "--limit", 2)
    assert [line["id"] for line in done.lines] == ["000001", "000002"]
    dry = convert(capsys, tmp_path / "dry.jsonl", "csv", table, "--dry-run")
    assert dry.code == 0
    assert "5 faces of 5 rows; a dry run, nothing was written" in dry.told
    assert not (tmp_path / "dry.jsonl").exists()
    assert main(["data", "convert", "csv", str(table), "--dry_run"]) == 0


def test_what_is_there_is_not_written_over(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = text(tmp_path / "mine.jsonl", "precious")
    assert main(["data", "convert", "csv", str(table), "-o", str(out)]) == 2
    assert f"out: '{out}' exists; choose another name, or remove it" in capsys.readouterr().err
    assert out.read_text() == "precious\n"
    (tmp_path / "new_images").mkdir()
    assert main(["data", "convert", "csv", str(table), "-o", str(tmp_path / "new.jsonl")]) == 2
    assert f"'{tmp_path / 'new_images'}' exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["disfaa", "x"], "there is no format 'disfaa'; did you mean 'disfa'?"),
        (["csv"], "'csv' does not exist; name the file or folder after it"),
        (["nowhere"], "'nowhere' does not exist; check the path"),
        (["csv", "a", "b"], "source: found 3 words; give the name of a format and one file or folder"),
        (["."], "does not show what format it is of; name it: fea data convert NAME"),
        (["disfa", "."], "has no folder 'ActionUnit_Labels'"),
        (["bp4d", "."], "holds no tables such as AUCoding/AU_OCC/F001_T1.csv"),
        (["raf-au", "."], "has no 'RAFAU_label.txt'"),
        (["raf-db", "."], "holds neither 'list_patition_label.txt' nor folders 1 to 7"),
        (["affectnet", "."], "holds neither training.csv nor validation.csv"),
        (["fer2013", "."], "holds neither fer2013.csv nor folders such as train/angry"),
        (["ferplus", "."], "has no 'fer2013new.csv'"),
        (["ck+", "."], "has neither FACS nor Emotion beside its images"),
        (["faba-instruct", "."], "has no train/train_au_anno.json or the like"),
        (["fea20k", "."], "is no file"),
        (["conversations", "."], "is no file"),
        (["imagefolder", "."], "is called like an emotion"),
        (["csv", "."], "is no file; name the table in it"),
        (["parquet", "."], "is no Parquet file and no folder of some"),
        (["openface", "."], "holds no OpenFace table"),
        (["py-feat", "."], "holds no Py-Feat table"),
        (["libreface", "."], "holds no LibreFace table"),
        (["csv", ".", "--limit", "0"], "limit: 0; give a number from 1 up"),
        (["csv", ".", "--from-labels", "-1"], "from_labels: -1"),
        (["csv", ".", "--treshold", "1"], "there is no setting 'treshold'; did you mean 'threshold'?"),
    ],
)
def test_a_wrong_source_is_one_sentence(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = convert(capsys, tmp_path / "o.jsonl", *words)
    assert done.code == 2
    assert told in done.error
    assert done.error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf\r\n \n"])
@pytest.mark.parametrize("words", [[], ["csv"], ["parquet"], ["fea20k"], ["conversations"]])
def test_an_empty_file_is_called_empty(
    words: list[str], content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    done = convert(capsys, tmp_path / "o.jsonl", *words, tmp_path / "labels.csv")
    assert (done.code, done.error.count("\n")) == (2, 1)
    assert f"'{tmp_path / 'labels.csv'}' is empty: there is nothing in it to convert" in done.error


def test_without_a_place_to_write_nothing_is_read(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "convert", "csv", str(table)]) == 2
    assert "nothing is given for out; name the file to be written: -o faces.jsonl" in capsys.readouterr().err


def test_plain_analyses_come_from_labels(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "l.jsonl"
    done = convert(capsys, out, "csv", table, "--from-labels", 2)
    told = {line["id"]: line.get("description") for line in done.lines}
    assert told["000004"] is None  # of the test part
    assert told["000005"] is None  # of no known emotion
    assert told["000002"] == (
        "<think>The brows come down and together (AU4). This is read as sadness.</think><answer>sadness</answer>"
    )
    happy = {
        "000001": "The lip corners go up and back (AU12, on the person's left).",
        "000003": "None of the movements that were looked for shows.",
    }
    (one,) = [name for name in happy if told[name]]  # one of each emotion
    assert told[one] == f"<think>{happy[one]} This is read as happiness.</think><answer>happiness</answer>"
    assert "Action Units coded: 5; analyses: 2\n" in done.told
    assert "2 plain analyses were written from the labels ('analysis' in meta_info); they say the labels" in done.told
    assert done.lines[1]["meta_info"] == {"split": "train", "analysis": "from labels"}
    passes(capsys, done, out)
    _, shown = check(capsys, out)
    assert "analyses: 2 (40 %), of which 0 get think and answer tags" in shown
    assert "claim Action Units" not in shown
    again = convert(capsys, tmp_path / "again.jsonl", "csv", table, "--from-labels", 2)
    assert again.lines == done.lines
    assert (tmp_path / "again.jsonl").read_bytes() == out.read_bytes()
    more = convert(capsys, tmp_path / "more.jsonl", "csv", table, "--from-labels", 50)
    assert "3 plain analyses" in more.told


def test_faces_without_units_get_no_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "joy/a.png")
    done = convert(capsys, tmp_path / "o.jsonl", "imagefolder", tmp_path, "--from-labels", 1)
    assert done.lines[0]["description"] == (
        "<think>Seen as a whole, the face is read as happiness.</think><answer>happiness</answer>"
    )
    assert "AUs" not in done.lines[0]


def test_a_file_given_to_check_or_fit_is_named(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = text(tmp_path / "of.csv", "face, confidence, AU12_r, AU12_c", "0, 0.9, 1.0, 1")
    assert main(["data", "check", str(of)]) == 2
    told = f"'{of}' is an OpenFace table, not one JSON object a line; turn it into JSON lines: fea data convert openface '{of}'"
    assert told in capsys.readouterr().err
    assert main(["data", "check", str(table)]) == 2
    assert f"fea data convert csv '{table}' -o faces.jsonl" in capsys.readouterr().err


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = " ".join(["7"] * 2304)
    rows = [f"3,{pixels},Training"] * 3
    file = text(tmp_path / "in/fer2013.csv", "emotion,pixels,Usage", *rows)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json, "dumps", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(["data", "convert", "fer2013", str(file), "-o", str(out / "f.jsonl")])
    assert list(out.iterdir()) == []
