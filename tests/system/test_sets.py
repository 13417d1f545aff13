"""Files that belong together, written while the disk fills up, the process is killed, and others look on."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from fea.system.sets import recover, together


class Killed(BaseException):
    """Stands for the end of a process at some moment."""


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process counts as gone for whoever looks for what it left."""
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: False)


def write(folder: Path, content: str = "new") -> None:
    with together(folder, "index") as part:
        assert list(part.iterdir()) == []
        (part / "images").mkdir()
        for name in ("index", "images/1", "images/2"):
            (part / name).write_text(content)


def killed(folder: Path, moment: int) -> None:
    """Writes the set, and is killed before the n-th file is moved; after the last one if there are fewer."""
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, moment)
        with suppress(Killed):
            write(folder)


def contents(folder: Path) -> dict[str, str]:
    """What lies in a folder, by name; hidden files too."""
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


NEW = {"index": "new", "images/1": "new", "images/2": "new"}


def kill_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """Ends the process before it moves its n-th file."""
    true, left = os.replace, iter(range(moment))

    def replace(*paths: Path) -> None:
        if next(left, None) is None:
            raise Killed
        true(*paths)

    monkeypatch.setattr(os, "replace", replace)


def test_a_new_folder_appears_with_all_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "set"
    with together(folder, "index") as part:
        (part / "index").write_text("new")
        assert not folder.exists()
    assert contents(tmp_path) == {"deep/set/index": "new"}


def test_what_else_is_in_a_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("index", "images/1", "images/3", "notes"):
        (tmp_path / name).write_text("old")
    write(tmp_path)
    assert contents(tmp_path) == {**NEW, "images/3": "old", "notes": "old"}


@pytest.mark.parametrize("there", [True, False])
def test_a_block_that_fails_changes_nothing(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "set"
    if there:
        write(folder, "old")
    before = contents(tmp_path)

    def fail() -> None:
        with together(folder, "index") as part:
            (part / "index").write_text("new")
            raise OSError(28, "full", str(part / "index"))

    with pytest.raises(OSError, match="full") as refusal:
        fail()
    assert contents(tmp_path) == before
    assert refusal.value.filename == str(folder)


@pytest.mark.usefixtures("dead")
def test_killed_at_any_moment_a_set_is_the_old_one_the_new_one_or_none(tmp_path: Path) -> None:
    for moment in range(4):
        write(tmp_path, "old")
        killed(tmp_path, moment)
        found = {name: text for name, text in contents(tmp_path).items() if not name.startswith(".")}
        assert found == NEW if moment == 3 else "index" not in found
        write(tmp_path)
        recover(tmp_path, "index", ())
        assert contents(tmp_path) == NEW


@pytest.mark.parametrize("moment", range(4))
@pytest.mark.usefixtures("dead")
def test_what_was_moved_of_a_set_is_taken_away_and_nothing_else(tmp_path: Path, moment: int) -> None:
    (tmp_path / "notes").write_text("mine")
    killed(tmp_path, moment)
    if moment == 0:
        (tmp_path / "images" / "1").write_text("mine")  # made since then, by somebody else
    recover(tmp_path, "index", ("images/1", "images/2"))
    mine = {"notes": "mine", **({"images/1": "mine"} if moment == 0 else {})}
    assert contents(tmp_path) == {**mine, **(NEW if moment == 3 else {})}


def test_what_another_process_is_writing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with together(tmp_path, "index") as part:
        (part / "index").write_text("first")
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", os.getppid)
            write(tmp_path)
            recover(tmp_path, "index", ("index",))
    assert contents(tmp_path) == {**NEW, "index": "first"}


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path, dead: None) -> None:
    for folder in (tmp_path / "new", tmp_path):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("shutil.rmtree", lambda *_, **__: None)
            with pytest.raises(Killed), together(folder, "index"):
                raise Killed
    assert len(list(tmp_path.iterdir())) == 2
    write(tmp_path / "new")
    write(tmp_path)
    assert set(contents(tmp_path)) == {*NEW, *(f"new/{name}" for name in NEW)}


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("a file")
    with pytest.raises(NotADirectoryError) as refusal:
        write(tmp_path / "set")
    assert refusal.value.filename == str(tmp_path / "set")
