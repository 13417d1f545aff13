"""Tables of one's own: CSV, Parquet, saved data sets; and folders that are called like emotions."""

from __future__ import annotations

import io
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from converting import convert, passes, picture, text
from PIL import Image


def faces(folder: Path, *names: str) -> None:
    for name in names:
        picture(folder / name)


def test_a_csv_with_units_in_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces(tmp_path, "faces/a.jpg", "faces/b.JPG", "faces/c.jpg", "faces/d.jpg", "faces/e.jpg")
    rows = [
        "Filename;Emotion;AU01;AU06;AU_12;AUL14;subject;Usage",
        'faces\\a.jpg;"Happy";0;1;1;;p1;Training',
        "faces/b.jpg;neutral;0;0;9;0;p2;PublicTest",
        "faces/c.jpg;Uncertain;999;-1;NaN;;p3;train",
        "faces/d.jpg;smirking;1;0;0;1;p4;train",
        "faces/e.jpg;N/A;1;0;0;0;p5;train",
        "faces/x.jpg;sad;1;0;0;0;p6;train",
        "faces/a.jpg;Happy;0;1;1;;p1;Training",
        "faces/b.jpg;anger;0;1;1;0;p2;PublicTest",
        "faces/e.jpg;sad;1",
        "faces/e.jpg;sad;1;maybe;0;0;p5;train",
    ]
    file = text(tmp_path / "mine.csv", "\ufeff" + rows[0], *rows[1:], end="\r\n")
    out = tmp_path / "mine.jsonl"
    done = convert(capsys, out, file)
    assert "for a table (CSV) (csv)" in done.told
    assert "\npeople: 4\n" in done.told
    assert (
        "columns: image=Filename, labels=Emotion, subject=subject, split=Usage, 4 units; not read: none\n" in done.told
    )
    assert done.lines == [
        {
            "id": "000001", "image": "faces/a.jpg", "AUs": ["AU6", "AU12"], "AUs_coded": ["AU1", "AU6", "AU12"],
            "labels": ["happiness"], "meta_info": {"subject": "p1", "split": "train"},
        },
        {
            "id": "000002", "image": "faces/b.JPG", "AUs": [], "AUs_coded": ["AU1", "AU6", "AUL14"], "labels": ["neutral"],
            "meta_info": {"subject": "p2", "split": "val"},
        },
        {
            "id": "000004", "image": "faces/d.jpg", "AUs": ["AU1", "AUL14"], "AUs_coded": ["AU1", "AU6", "AU12", "AUL14"],
            "labels": [], "meta_info": {"subject": "p4", "split": "train"},
        },
        {
            "id": "000005", "image": "faces/e.jpg", "AUs": ["AU1"], "AUs_coded": ["AU1", "AU6", "AU12", "AUL14"], "labels": [],
            "meta_info": {"subject": "p5", "split": "train"},
        },
    ]  # fmt: skip
    for reason in (
        "nothing is known of the face",
        "the image is not there (the first: 'faces/x.jpg', row 6",
        "the row says what an earlier one has said",
        "an earlier row says something else of this image",
        "the row has another number of cells than there are columns",
    ):
        assert f"  1 x {reason}" in done.told
    assert "words that are none of the emotions count as unknown, such as 'smirking' in row 4" in done.told
    assert "could not convert string to float: 'maybe'" not in done.told
    assert "  1 x 'maybe' is no number" in done.told
    passes(capsys, done, out)


def test_grades_and_the_other_shapes_of_units(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    graded = text(tmp_path / "graded.csv", "image\tAU6\tAU12", "a.jpg\t1\t3,5", "b.jpg\t0\t9", "c.jpg\t2\t0")
    done = convert(capsys, tmp_path / "g.jsonl", "csv", graded)
    assert [(line["AUs"], line["AUs_coded"], line["AU_intensities"]) for line in done.lines] == [
        (["AU12"], ["AU6", "AU12"], {"AU6": 1, "AU12": 3.5}),
        ([], ["AU6"], {"AU6": 0}),
        (["AU6"], ["AU6", "AU12"], {"AU6": 2, "AU12": 0}),
    ]
    assert {line["meta_info"]["threshold"] for line in done.lines} == {2.0}
    assert "a unit shows from 2 on (meta_info.threshold)" in done.told
    odds = text(tmp_path / "odds.csv", "image,AU6,AU12", "a.jpg,0.2,0.9", "b.jpg,0.5,")
    refused = convert(capsys, tmp_path / "o.jsonl", "csv", odds)
    assert refused.code == 2
    assert (
        "columns such as 'AU6' hold fractions; say from which value on a unit shows: --threshold 0.5" in refused.error
    )
    done = convert(capsys, tmp_path / "o.jsonl", "csv", odds, "--threshold", 0.5)
    assert [(line["AUs"], line["AUs_coded"]) for line in done.lines] == [
        (["AU12"], ["AU6", "AU12"]),
        (["AU6"], ["AU6"]),
    ]
    assert "AU_intensities" not in done.lines[0]
    listed = text(tmp_path / "listed.csv", "img,label,AUs", 'a.jpg,fear,"AU1, AU4"', "b.jpg,fear,1+L2+4", "c.jpg,fear,")
    done = convert(capsys, tmp_path / "l.jsonl", "csv", listed)
    assert [line.get("AUs") for line in done.lines] == [["AU1", "AU4"], ["AU1", "AUL2", "AU4"], None]
    passes(capsys, done, tmp_path / "l.jsonl")


def test_columns_that_are_not_read_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces(tmp_path, "a.jpg")
    more = [f"c{n}" for n in range(19)]
    file = text(tmp_path / "t.csv", ",".join(["img", "label", *more]), ",".join(["a.jpg", "fear", *more]))
    done = convert(capsys, tmp_path / "t.jsonl", "csv", file)
    assert f"columns: image=img, labels=label; not read: {', '.join(more[:8])} and 11 more\n" in done.told
    wrong = convert(capsys, tmp_path / "w.jsonl", "csv", file, "--columns", "{image: picture}")
    assert f"no column 'picture'; its columns are img, label, {', '.join(more[:6])} and 13 more\n" in wrong.error


def test_columns_and_classes_may_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    file = text(tmp_path / "t.csv", "what,who,emo", "a.jpg,p1,1", "b.jpg,p1,0", "c.jpg,p2,-1")
    out = tmp_path / "t.jsonl"
    missing = convert(capsys, out, "csv", file)
    assert missing.code == 2
    assert "has no column of images; its columns are what, who, emo: say which it is, --columns" in missing.error
    named = ["--columns", "{image: what, labels: emo, subject: who}"]
    numbers = convert(capsys, out, "csv", file, *named)
    assert numbers.code == 2
    assert "column 'emo' holds numbers; say what 0, 1, 2, ... mean" in numbers.error
    assert not out.exists()
    done = convert(capsys, out, "csv", file, *named, "--classes", "[angry, happy]")
    assert [(line["labels"], line["meta_info"]["subject"]) for line in done.lines] == [
        (["happiness"], "p1"),
        (["anger"], "p1"),
    ]
    wrong = convert(capsys, tmp_path / "x.jsonl", "csv", file, "--columns", "{image: foto}")
    assert "has no column 'foto'; its columns are what, who, emo" in wrong.error


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"image,labels\n", "the source holds no row"),
        (b"", "is empty"),
        (b"image,image,labels\na.jpg,b,c\n", "has two columns 'image'"),
        (b"image,age\na.jpg,3\n", "has neither emotions nor Action Units; its columns are image, age"),
        (b"image,label\nno.jpg,sad\nnone.jpg,sad\n", "none of 2 rows became a face; of 2 the image is not there"),
        (b"\x00\x01\x02", "is no text"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_one_sentence(
    content: bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    done = convert(capsys, tmp_path / "o.jsonl", "csv", tmp_path / "t.csv")
    assert done.code == 2
    assert told in done.error
    assert done.error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_other_encodings_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces(tmp_path, "Zoë.jpg", "Jörg.jpg")
    wide = tmp_path / "wide.csv"
    wide.write_bytes("image,label\r\nZoë.jpg,sad\r\n".encode("utf-16"))
    mixed = tmp_path / "mixed.csv"
    mixed.write_bytes(b"image,label\n" + "Zoë.jpg,sad\n".encode() + "Jörg.jpg,happy\n".encode("cp1252"))
    old = tmp_path / "old.csv"
    old.write_bytes("image,label\rZoë.jpg,sad\rJörg.jpg,happy\r".encode())
    counts = [len(convert(capsys, file.with_suffix(".jsonl"), "csv", file).lines) for file in (wide, mixed, old)]
    assert counts == [1, 2, 2]


def png(gray: int) -> bytes:
    Image.new("L", (8, 8), gray).save(content := io.BytesIO(), "PNG")
    return content.getvalue()


def test_images_within_a_parquet_table_are_written_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {
        "image": [{"bytes": png(1), "path": None}, {"bytes": png(2), "path": "x.png"}],
        "label": ["sad", "joy"],
        "AU12": [0, 1],
        "AU4": [None, 1.0],
    }
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    out = tmp_path / "out" / "t.jsonl"
    done = convert(capsys, out, tmp_path / "t.parquet")
    assert "for a Parquet table (parquet)" in done.told
    assert done.lines == [
        {"id": "000001", "image": "t_images/000000.png", "AUs": [], "AUs_coded": ["AU12"], "labels": ["sadness"]},
        {
            "id": "000002", "image": "t_images/000001.png", "AUs": ["AU4", "AU12"], "AUs_coded": ["AU4", "AU12"],
            "labels": ["happiness"],
        },
    ]  # fmt: skip
    assert (out.parent / "t_images/000001.png").read_bytes() == png(2)
    passes(capsys, done, out)


def test_a_saved_data_set_tells_its_classes_and_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["angry", "happy"]),
            "id": datasets.Value("string"),
        }
    )
    image = Image.new("RGB", (8, 8), "red")
    part = datasets.Dataset.from_dict({"image": [image, image], "label": [1, 0], "id": ["a", "b"]}, features=kinds)
    datasets.DatasetDict({"train": part, "test": part.select([0])}).save_to_disk(str(tmp_path / "saved"))
    out = tmp_path / "s.jsonl"
    done = convert(capsys, out, tmp_path / "saved")
    assert "for a saved data set of Hugging Face (hf)" in done.told
    assert [(line["id"], line["labels"], line["meta_info"]) for line in done.lines] == [
        ("a", ["happiness"], {"split": "train"}),
        ("b", ["anger"], {"split": "train"}),
        ("a-3", ["happiness"], {"split": "test"}),
    ]
    passes(capsys, done, out)
    part.to_parquet(str(tmp_path / "p.parquet"))
    again = convert(capsys, tmp_path / "p.jsonl", "parquet", tmp_path / "p.parquet")
    assert [line["labels"] for line in again.lines] == [["happiness"], ["anger"]]
    absent = convert(capsys, tmp_path / "n.jsonl", "hf", "nobody/nothing-of-this-name")
    assert absent.code == 2
    assert "'nobody/nothing-of-this-name' is neither a saved data set nor one of the hub" in absent.error


def test_folders_that_are_called_like_emotions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "photos"
    faces(
        root,
        "train/Happy/2.jpg",
        "train/Happy/10.JPEG",
        "valid/sadness/1.png",
        "train/smirk/1.png",
        "train/smirk/2.png",
    )
    text(root / "train/Happy/notes.txt", "no image")
    out = tmp_path / "p.jsonl"
    done = convert(capsys, out, root)
    assert "for a folder of images by emotion (imagefolder)" in done.told
    assert done.lines == [
        {
            "id": f"image-{name}", "image": f"photos/{name}", "labels": [label], "meta_info": {"split": split},
        }
        for name, label, split in (
            ("train/Happy/2.jpg", "happiness", "train"),
            ("train/Happy/10.JPEG", "happiness", "train"),
            ("valid/sadness/1.png", "sadness", "val"),
        )
    ]  # fmt: skip
    assert "  2 x the folder 'smirk' is called like no emotion" in done.told
    passes(capsys, done, out)
    none = convert(capsys, tmp_path / "n.jsonl", "imagefolder", root / "train/smirk")
    assert none.code == 2
    assert "is called like an emotion" in none.error


def test_photographs_are_faces_of_which_nothing_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("b.PNG", "2024/may/a.jpg", "2024/a.jpg", ".hidden/c.jpg"):
        picture(tmp_path / "album" / name)
    text(tmp_path / "album/notes.txt", "words")
    out = tmp_path / "p.jsonl"
    done = convert(capsys, out, "photos", tmp_path / "album")
    assert done.lines == [
        {"id": name, "image": f"album/{name}", "labels": []} for name in ("b.PNG", "2024/a.jpg", "2024/may/a.jpg")
    ]
    assert convert(capsys, tmp_path / "again.jsonl", "photos", tmp_path / "album").lines == done.lines
    assert "is no folder; name the folder" in convert(capsys, tmp_path / "x.jsonl", "photos", out).error
