"""`fea data faces` into folders that hold something already: a set is whole or not there, and foreign files stay."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from fea.cli import main
from fea.drawn import faces
from fea.drawn.faces import write_faces
from fea.errors import FEAError
from fea.images.opening import load_image


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_set_in_the_place_of_an_older_one_is_as_if_there_had_been_none(tmp_path: Path) -> None:
    write_faces(tmp_path / "new", 3, seed=1, text="caption", size=56)
    write_faces(tmp_path / "again", 5, seed=1, size=112)
    older = contents(tmp_path / "again")
    write_faces(tmp_path / "again", 3, seed=1, text="caption", size=56)
    extra = {name: older[name] for name in ("images/1-000003.png", "images/1-000004.png")}
    assert contents(tmp_path / "again") == contents(tmp_path / "new") | extra


def test_killed_while_it_draws_the_older_set_is_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_faces(tmp_path, 3)
    older, true = contents(tmp_path), faces.draw_face

    def draw(*arguments: object) -> object:
        if len(list(tmp_path.rglob("*.png"))) == 5:
            raise KeyboardInterrupt
        return true(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(faces, "draw_face", draw)
    assert main(["data", "faces", str(tmp_path), "--n", "3", "--size", "56"]) == 130
    assert contents(tmp_path) == older


@pytest.mark.parametrize("moment", range(4))
def test_killed_while_it_moves_no_label_stands_beside_another_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    write_faces(tmp_path, 3)
    true, left = os.replace, iter(range(moment))

    def replace(source: Path, target: Path) -> None:
        if "moving" in str(source) and next(left, None) is None:
            raise KeyboardInterrupt
        true(source, target)

    monkeypatch.setattr(os, "replace", replace)
    assert main(["data", "faces", str(tmp_path), "--n", "3", "--text", "caption"]) == 130
    assert not (tmp_path / "faces.jsonl").exists()


def test_lines_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    for line in ('{"id": "mine", "image": "a.png"}', "no JSON", "[1]", ""):
        (tmp_path / "faces.jsonl").write_text(f'{{"id": "face-0-0"}}\n{line}\n')
        before = contents(tmp_path)
        with pytest.raises(FEAError, match=r"faces.jsonl' holds other lines than those of drawn faces; choose another"):
            write_faces(tmp_path, 1)
        assert contents(tmp_path) == before


def test_an_image_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0-000001.png").write_bytes(b"mine")
    with pytest.raises(FEAError, match=r"0-000001.png' is there already and was not drawn here; choose another folder"):
        write_faces(tmp_path, 2)
    assert contents(tmp_path) == {"images/0-000001.png": b"mine"}


def test_a_set_whose_labels_are_gone_is_drawn_again(tmp_path: Path) -> None:
    whole = contents(write_faces(tmp_path, 3).parent)
    (tmp_path / "faces.jsonl").unlink()
    write_faces(tmp_path, 3)
    assert contents(tmp_path) == whole
    record = json.loads(whole["faces.jsonl"].splitlines()[0])
    assert np.asarray(load_image(str(tmp_path / record["image"]), "f:1")).shape == (112, 112, 3)


def test_a_full_disk_is_one_sentence_and_leaves_the_older_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_faces(tmp_path / "set", 3)
    older = contents(tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["data", "faces", f"{tmp_path}/set", "--n", "5"]) == 2
    told = f"fea: error: '{tmp_path}/set': the disk is full; make room, or choose another place\n"
    assert (capsys.readouterr().err, contents(tmp_path)) == (told, older)
