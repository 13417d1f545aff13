"""What is given in place of a file of JSON lines is named, once; what is one is left alone."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fea.errors import FEAError
from fea.records.formats import expect_lines
from fea.records.jsonl import read_lines
from fea.records.record import Record, Rules

ROW = {"image": "a.png", "labels": ["joy"]}
LINE = json.dumps(ROW)
RULES = Rules(("joy",))


def refused(file: Path) -> str:
    """The one sentence about a file, which its lines begin with, too."""
    with pytest.raises(FEAError) as refusal:
        expect_lines(file)
    with pytest.raises(FEAError):
        list(read_lines(file, RULES))
    assert "\n" not in str(refusal.value)
    assert f"'{file}'" in str(refusal.value)
    return str(refusal.value)


def zipped() -> bytes:
    with zipfile.ZipFile(content := io.BytesIO(), "w") as archive:
        archive.writestr("a.jsonl", LINE)
    return content.getvalue()


def tarred() -> bytes:
    with tarfile.open(fileobj=(content := io.BytesIO()), mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jsonl"))
    return content.getvalue()


def pictured() -> bytes:
    Image.new("RGB", (8, 8)).save(content := io.BytesIO(), "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (json.dumps([ROW, ROW]), "is a JSON list"),
        (json.dumps([ROW, ROW], indent=1), "is a JSON list"),
        (f"[\n{LINE},\n{LINE}\n]\n", "is a JSON list"),
        (json.dumps([ROW] * 5000), "is a JSON list"),
        (json.dumps({"images": [ROW]}, indent=2), "is JSON over several lines"),
        ("image,labels\na.png,joy\n", "is a table (CSV)"),
        ("image\tlabels\na.png\tjoy\n", "is a table (CSV)"),
        ("a.png 5\nb.png 4\n", "is plain text"),
        ("face, confidence, AU01_r, AU12_r, AU12_c\n0, 0.9, 0, 1, 1\n", "is an OpenFace table"),
        ("frame,FaceRectX,AU12,anger,happiness,input\n", "is a Py-Feat table"),
        ("pitch,facial_expression,au_12,au_12_intensity\n", "is a LibreFace table"),
        ("emotion,pixels,Usage\n3,1 2 3,Training\n", "is the table of FER2013"),
        ("Usage,Image name,neutral,contempt,unknown,NF\n", "is the table of FER+"),
        ("subDirectory_filePath,face_x,expression\n", "is a table of AffectNet"),
        ("0,1,2,3,4\n2440,1,0,9,0\n", "is a table of BP4D"),
        ("train_00001.jpg 5\r\ntest_0001.jpg 4\r\n", "is the list of RAF-DB"),
        ("0007.jpg 1+L2+4\n8.jpg 12 \n0010.jpg null\n", "is the list of RAF-AU"),
        (json.dumps([{"image": "a.png", "conversations": []}]), "is a file of conversations (LLaVA style)"),
        (json.dumps({"image": "a.png", "messages": []}) + "\n", "is a file of conversations (LLaVA style)"),
        (json.dumps([{"image": "a.png", "label": "1", "gpt4": "x"}]), "is a file of FABA-Instruct"),
        ("- image: a.png\n  labels: [joy]\n", "is YAML"),
        ("<!DOCTYPE html>\n<p>Sign in", "is XML or HTML"),
        (gzip.compress(LINE.encode(), mtime=0), "is compressed by gzip"),
        (zipped(), "is a zip archive"),
        (tarred(), "is a tar archive"),
        (pictured(), "is an image"),
        (LINE.encode("utf-16"), "is text in UTF-16"),
        (LINE.encode("utf-16-le"), "is text in UTF-16"),
        (LINE.encode("utf-16-be"), "is text in UTF-16"),
        (bytes(100), "is binary"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
        (f"{ROW}\n", "is no JSON (Python notation"),
        (f"{LINE},\n{LINE},\n", "is no JSON (a comma at the end)"),
        (f"{LINE[:-1]},}}\n", "is no JSON (a comma before a closing bracket)"),
        ("{image: 'a.png'}\n", "is no JSON (a key without quotes)"),
        ("{\u201cimage\u201d: \u201ca.png\u201d}\n", "is no JSON (typographic quotes)"),
        (f"{LINE}{LINE}\n", "is no JSON (several objects in one line)"),
        (f"{LINE}\r{LINE}\r", "is text whose lines end in CR"),
        ("", "is empty"),
        ("\ufeff \r\n\n", "is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("is ") else "file",  # the same in every process
)  # fmt: skip
def test_another_format_is_named(tmp_path: Path, content: str | bytes, what: str) -> None:
    file = tmp_path / "faces.jsonl"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    assert f" {what}" in refused(file)


def test_a_parquet_table_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["a.png"]}), tmp_path / "faces.parquet")
    assert (
        "is a Parquet table, not one JSON object a line; turn it into JSON lines: fea data convert parquet '"
        in refused(tmp_path / "faces.parquet")
    )


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "a.jsonl").write_text(LINE)
    assert refused(tmp_path / "faces").endswith(
        f"is a folder; name the files in it: '{tmp_path / 'faces' / 'a.jsonl'}'"
    )
    assert "is a pattern, which is not followed; name the files: '" in refused(tmp_path / "faces" / "*.jsonl")
    (tmp_path / "faces" / "dataset_info.json").write_text("{}")
    assert "is a folder with a saved data set" in refused(tmp_path / "faces")
    os.mkfifo(tmp_path / "pipe")
    assert "is no regular file" in refused(tmp_path / "pipe")
    assert "does not exist" in refused(tmp_path / "no.jsonl")


@pytest.mark.parametrize(
    "content",
    [
        LINE,
        f"{LINE}\r\n{LINE}\r\n",
        f"\ufeff{LINE}\n",
        f"\n\n {LINE}\n",
        json.dumps({**ROW, "question": "one,\u2028two,\x85three"}, ensure_ascii=False),
        json.dumps({**ROW, "question": "x" * 100_000}),
        json.dumps({**ROW, "question": "[1], {'a': 1}, <b>"}),
    ],
)
def test_lines_are_read(tmp_path: Path, content: str) -> None:
    (tmp_path / "faces.jsonl").write_bytes(content.encode())
    records = [record for _, _, record in read_lines(tmp_path / "faces.jsonl", RULES)]
    assert records
    assert all(isinstance(record, Record) and record.labels == ["joy"] for record in records)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("# a comment", "(a comment, which JSON does not have)"),
        (f"{LINE},", "(a comma at the end)"),
        (str(ROW), "(Python notation, where JSON has double quotes, true, false and null)"),
    ],
)
def test_the_slip_of_a_single_line_is_named(tmp_path: Path, line: str, why: str) -> None:
    (tmp_path / "faces.jsonl").write_text(f"{line}\n{LINE}\n")
    first, second = (record for _, _, record in read_lines(tmp_path / "faces.jsonl", RULES))
    assert str(first).startswith(f"{tmp_path / 'faces.jsonl'}:1: broken JSON, ")
    assert str(first).endswith(why)
    assert isinstance(second, Record)
