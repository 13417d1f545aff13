"""The images of data files, opened before a fit begins."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from PIL import Image
from test_data_module import attach, relabeled

from fea.data import image_check
from fea.data.image_check import look
from fea.data.module import FEADataModule
from fea.data.source import option, told_root
from fea.errors import FEAError


def test_a_folder_that_is_not_named_is_told_as_it_is_typed(tmp_path: Path) -> None:
    Image.linear_gradient("L").save(tmp_path / "a.png")
    there, gone = tmp_path / "there.jsonl", tmp_path / "gone.jsonl"
    there.write_text('{"image": "a.png", "labels": ["fear"], "description": "AU1"}')
    gone.write_text(there.read_text().replace("a.png", "no.png"))
    for name, files in (("train", {"train": [str(gone)]}), ("val", {"train": [str(there)], "val": [str(gone)]})):
        typed = re.escape(f"as in --data.{name} '[{{file: {gone}, image_root: FOLDER}}]', or set 'on_bad: skip'")
        with pytest.raises(FEAError, match=rf"no\.png' does not exist; check 'image_root', {typed}$"):
            attach(FEADataModule(**files))


@pytest.mark.parametrize("folder", ["my_photos", "my photos, it's #1", "7", "über"])
def test_an_option_with_a_folder_is_read_as_it_was_meant(folder: str, tmp_path: Path) -> None:
    words = shlex.split(option("train", tmp_path / "a b.jsonl", folder))
    assert words[0] == "--data.train"
    assert yaml.safe_load(words[1]) == [{"file": str(tmp_path / "a b.jsonl"), "image_root": folder}]


def test_a_folder_below_the_present_one_is_named_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = told_root(tmp_path / "my_photos", {"train": Path("data/train.jsonl")})
    assert told == (
        "the images are relative to 'my_photos'; give it with the file: "
        "--data.train '[{file: data/train.jsonl, image_root: my_photos}]'; "
        "to commands such as fea data check: --image_root my_photos"
    )


def test_images_are_opened_once_before_a_fit(
    tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch, faces_file: Path
) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    (tmp_path / "page.png").write_text("<html>")
    file = relabeled(faces_file, tmp_path / "f.jsonl", {"image": "black.png"}, {"image": "page.png"})
    opened: list[str] = []
    monkeypatch.setattr(image_check, "look", lambda image, *more: (opened.append(image), look(image, *more))[1])
    with pytest.raises(
        FEAError, match=r"1 images of '.*' cannot be read; the first: .*:2: image .*, or set 'on_bad: skip'"
    ):
        attach(FEADataModule(train=[str(file)]))
    for _ in range(2):
        caplog.clear()
        with caplog.at_level("INFO"):
            attach(FEADataModule(train=[str(file)], on_bad="skip"))
        assert (
            f"{file}: warning: 1 images are black, or of another single color: {tmp_path / 'black.png'}"
            in caplog.messages
        )
        assert f"1 images of '{file}' cannot be read; the first: {file}:2" in "\n".join(caplog.messages)
    # What cannot be read may have been mended: it is looked at again.
    assert sorted(opened) == sorted([str(tmp_path / "black.png"), str(tmp_path / "page.png")] * 3)
    relabeled(faces_file, file, {"image": "black.png"})
    for _ in range(2):
        attach(FEADataModule(train=[str(file)], on_bad="skip"))
        assert len(opened) == 7  # the file has changed, and all of it can be read
    with caplog.at_level("INFO"):
        attach(FEADataModule(train=[str(file)], on_bad="skip", max_image_pixels=100))
    assert "64 x 64 pixels, more than the 100 that are allowed" in caplog.text
    assert len(opened) == 8  # the limit has changed
    attach(FEADataModule(predict=[str(file)], on_bad="skip", emotions="basic8"), "predict")
    monkeypatch.setattr(image_check, "MOST_OPENED", 0)
    attach(FEADataModule(train=[str(file)], emotions="basic8"))
    assert len(opened) == 8


def test_an_image_with_more_pixels_than_are_allowed_is_not_read(faces_file: Path) -> None:
    small = 112 * 112 - 1
    with pytest.raises(FEAError, match=r"it has 112 x 112 pixels, more than the 12543 that are allowed"):
        attach(FEADataModule([str(faces_file)], num_workers=0, max_image_pixels=small))
    data = attach(FEADataModule([str(faces_file)], num_workers=0, max_image_pixels=small, on_bad="skip"))
    data.on_bad = "raise"
    with pytest.raises(FEAError, match=r"it has 112 x 112 pixels, more than the 12543 that are allowed"):
        next(iter(data.train_dataloader()))  # type: ignore[call-overload]
    with pytest.raises(FEAError, match=r"data.max_image_pixels: 0; give a number from 1 to"):
        FEADataModule(max_image_pixels=0)
