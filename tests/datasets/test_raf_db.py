"""RAF-DB as it is distributed and as it is copied."""

from __future__ import annotations

from pathlib import Path

import pytest
from converting import convert, passes, picture, text

LABELS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")


@pytest.fixture
def raf_db(tmp_path: Path) -> Path:
    root = tmp_path / "RAF-DB"
    lines = ["train_00001.jpg 5", "train_00002.jpg 4 ", "", "test_0001.jpg 7", "test_0002.jpg 1", "test_0003.jpg 9"]
    text(
        root / "basic/EmoLabel/list_patition_label.txt",
        "\ufeff" + lines[0],
        *lines[1:],
        "test_0004.jpg 2",
        "odd",
        end="\r\n",
    )
    for name in ("train_00001", "train_00002", "test_0001"):
        picture(root / f"basic/Image/aligned/{name}_aligned.jpg")
    picture(root / "basic/Image/original/test_0002.JPG")
    return root


def line(name: str, image: str, label: str) -> dict[str, object]:
    split = name.split("_")[0]
    return {
        "id": f"raf-db-{name}", "dataset": "RAF-DB", "image": f"RAF-DB/basic/Image/{image}", "labels": [label],
        "meta_info": {"split": split},
    }  # fmt: skip


@pytest.mark.parametrize("start", ["RAF-DB", "RAF-DB/basic", "RAF-DB/basic/EmoLabel/list_patition_label.txt"])
def test_the_list_is_read_from_wherever_it_is_named(
    raf_db: Path, start: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "raf.jsonl"
    done = convert(capsys, out, tmp_path / start)
    assert done.lines == [
        line("train_00001", "aligned/train_00001_aligned.jpg", "sadness"),
        line("train_00002", "aligned/train_00002_aligned.jpg", "happiness"),
        line("test_0001", "aligned/test_0001_aligned.jpg", "neutral"),
        line("test_0002", "original/test_0002.JPG", "surprise"),
    ]
    assert "took '" in done.told
    assert "split: test 2, train 2" in done.told
    for reason in ("9 is none of the codes 1 to 7", "the image is not there", "the line is not such as"):
        assert f"  1 x {reason}" in done.told
    passes(capsys, done, out)


def test_copies_in_folders_have_the_same_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "DATASET"
    for number in range(1, 8):
        picture(root / f"train/{number}/train_0000{number}_aligned.jpg")
    picture(root / "test/6/test_0001_aligned.jpg")
    out = tmp_path / "raf.jsonl"
    done = convert(capsys, out, root)
    assert "for RAF-DB (raf-db)" in done.told
    assert [(line["labels"], line["meta_info"]) for line in done.lines] == [
        (["anger"], {"split": "test"}),
        *(([label], {"split": "train"}) for label in LABELS),
    ]
    passes(capsys, done, out)


def test_images_elsewhere_are_told_with_their_root(
    raf_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "other" / "raf.jsonl"
    done = convert(capsys, out, "raf-db", raf_db)
    assert done.lines[0]["image"] == "basic/Image/aligned/train_00001_aligned.jpg"
    assert f"the images are relative to '{raf_db}'" in done.told
    passes(capsys, done, out, "--image_root", raf_db)
