"""People and images that are on both sides of a split: found by `fea data check`, and before a fit or a test begins."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps
from test_data_module import attach

from fea.cli import main
from fea.data import apart, overlap
from fea.data.module import FEADataModule
from fea.data.source import Source
from fea.drawn.faces import write_faces
from fea.errors import FEAError


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of drawn faces that have nothing in common."""
    root = tmp_path_factory.mktemp("sides")
    write_faces(root / "train", 30, seed=1, people=10)
    write_faces(root / "val", 12, seed=2, people=4)
    return root


@pytest.fixture
def sides(drawn: Path, tmp_path: Path) -> Path:
    for name in ("train", "val"):
        shutil.copytree(drawn / name, tmp_path / name)
    return tmp_path


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def write(file: Path, lines: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def files(root: Path) -> tuple[Path, Path]:
    return root / "train/faces.jsonl", root / "val/faces.jsonl"


def plant_person(root: Path) -> str:
    train, val = files(root)
    lines = lines_of(val)
    lines[4]["meta_info"] = {"subject": "1-3"}  # the fourth line of the training file shows this person, too
    write(val, lines)
    return f"1 people of '{val}' are also in lines of '{train}', such as '1-3' ({val}:5, {train}:4)"


def plant_image(root: Path, made: Callable[[Image.Image], Image.Image], told: str) -> str:
    train, val = files(root)
    image = Image.open(root / "train" / lines_of(train)[7]["image"]).convert("RGB")
    target = root / "val" / lines_of(val)[2]["image"]
    made(image).save(target)
    return f"1 images of '{val}' are, or were made from, images of '{train}', such as {val}:3 = {train}:8 ({told})"


def mirrored_and_cut(image: Image.Image) -> Image.Image:
    return ImageOps.mirror(image.crop((4, 2, image.width - 1, image.height - 6))).resize((128, 128))


def check(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["data", "check", *map(str, words)])
    return code, capsys.readouterr().out


def test_sets_with_nothing_in_common_are_taken(sides: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = check(capsys, *files(sides))
    assert code == 0, told
    assert "overlap" not in told
    assert told.count("usable, 0 bad") == 2
    train, val = files(sides)
    attach(FEADataModule([str(train)], [str(val)]))


def test_a_person_on_both_sides_is_found(sides: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = plant_person(sides)
    code, shown = check(capsys, *files(sides))
    assert code == 2
    assert shown.splitlines()[-1] == f"overlap: {told}"
    train, val = map(str, files(sides))
    with pytest.raises(FEAError) as error:
        attach(FEADataModule([train], [val]))
    assert str(error.value) == (
        f"data.val: {told}: they say nothing about new faces; take them out of one of the files, or, if it is meant so, name "
        f"the file as {{file: {val}, overlap: true}}"
    )
    with pytest.raises(FEAError, match=r"data.test: 1 people of"):
        attach(FEADataModule([train], test=[val]), "test")
    attach(FEADataModule([train], [Source(val, overlap=True)]))
    attach(FEADataModule([train], test=[Source(val, overlap=True)]), "test")
    attach(FEADataModule(test=[val]), "test")  # nobody says what was learned from


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda image: image.resize((90, 90)), "alike)"),
        (ImageOps.mirror, "alike, mirrored)"),
        (mirrored_and_cut, "alike, mirrored)"),
    ],
    ids=["rescaled", "mirrored", "cut"],
)
def test_an_image_on_both_sides_is_found(
    made: Callable[[Image.Image], Image.Image], words: str, sides: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = plant_image(sides, made, "")[:-2]
    code, shown = check(capsys, *files(sides))
    assert code == 2
    (line,) = [line for line in shown.splitlines() if line.startswith("overlap:")]
    assert line.startswith(f"overlap: {told}")
    assert line.endswith(words)
    train, val = map(str, files(sides))
    with pytest.raises(FEAError) as error:
        attach(FEADataModule([train], [val]))
    assert str(error.value).startswith(f"data.val: {told}")


def test_the_same_file_is_on_both_sides(sides: Path) -> None:
    train = str(files(sides)[0])
    with pytest.raises(FEAError, match=rf"10 people .* and 30 images .*, such as {train}:1 = {train}:1, "):
        attach(FEADataModule([train], [train]))


def test_folds_of_a_file_are_sides_of_their_own(sides: Path) -> None:
    """What is compared is what a fold chooses, and what was found of one choice is not believed of another."""
    train = files(sides)[0]
    people = sorted({line["meta_info"]["subject"] for line in lines_of(train)})
    folded = [
        line | {"meta_info": line["meta_info"] | {"fold": 1 + people.index(line["meta_info"]["subject"]) % 3}}
        for line in lines_of(train)
    ]
    write(train, folded)
    for fold in (1, 2, 3):
        attach(FEADataModule([str(train)], test=[str(train)], fold=fold), "test")
    strayed = next(line for line in folded if line["meta_info"]["fold"] == 2)
    strayed["meta_info"]["fold"] = 3
    write(train, folded)
    attach(FEADataModule([str(train)], test=[str(train)], fold=1), "test")  # both are learned from
    for fold in (2, 3):
        with pytest.raises(FEAError, match=rf"data.test: 1 people of .* such as '{strayed['meta_info']['subject']}' "):
            attach(FEADataModule([str(train)], test=[str(train)], fold=fold), "test")


def test_splits_within_a_file_are_compared(sides: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, _ = files(sides)
    lines = lines_of(train)
    for line in lines:
        line["meta_info"]["split"] = "test" if line["meta_info"]["subject"] in ("1-8", "1-9") else "train"
    write(train, lines)
    code, told = check(capsys, train)
    assert code == 0, told
    lines[8]["meta_info"]["split"] = "train"
    write(train, lines)
    code, told = check(capsys, train)
    assert code == 2
    assert (
        f"overlap: 1 people of '{train}, test' are also in lines of '{train}, train', such as '1-8' ({train}:19, {train}:9)"
        in told
    )


def test_a_subject_of_another_data_set_is_somebody_else() -> None:
    rows = [
        ("mine", '{"subject": "1"}', "a:1"),
        ("DISFA-Train", '{"subject": "SN1"}', "a:2"),
        ("x", '{"a": "\\"subject\\""}', "a:3"),
    ]
    assert overlap.people_in(rows) == {("mine", "1"): "a:1", ("disfa", "SN1"): "a:2"}
    assert overlap.people_in(
        [("DISFA-Test-clean", '{"subject": "SN1"}', "b:1"), ("yours", '{"subject": 1}', "b:2")]
    ) == {
        ("disfa", "SN1"): "b:1",
        ("yours", "1"): "b:2",
    }


def test_what_was_compared_is_not_compared_again(sides: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, val = map(str, files(sides))
    attach(FEADataModule([train], [val]))
    compared = []
    monkeypatch.setattr(apart, "overlap", lambda *sides: compared.append(sides) or overlap.overlap(*sides))
    attach(FEADataModule([train], [val]))
    attach(FEADataModule([train], test=[val]), "test")
    assert compared == []
    plant_person(sides)
    with pytest.raises(FEAError, match="1 people"):
        attach(FEADataModule([train], [val]))
    assert len(compared) == 1


def test_training_files_that_are_gone_are_told(sides: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, val = files(sides)
    with caplog.at_level("INFO"):
        attach(FEADataModule([str(sides / "gone.jsonl")], test=[str(val)]), "test")
    assert (
        "data.train: not all of its files are here: nobody looked whether faces of them are measured on"
        in caplog.messages
    )
