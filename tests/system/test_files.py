"""What is written: whole, as readable as it was, in a place that was tried before; and whose name an error tells."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fea import cli, errors
from fea.system.files import naming, try_place, whole, write_atomically


def full(*_: Any) -> None:
    """Stands for a disk without room."""
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "a.txt"
    file.touch()
    file.chmod(mode)
    with whole(file) as stream:
        (unfinished,) = tmp_path.glob(".a.txt.*")
        assert unfinished.stat().st_mode & 0o777 == mode  # before there is anything to read
        stream.write(b"new")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", mode)


def test_an_error_names_the_file_that_its_user_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileExistsError) as refused:
        write_atomically(Path("/dev/null/a"), b"")
    assert refused.value.filename == "/dev/null"
    with pytest.raises(OSError, match="too long") as refusal:
        write_atomically(tmp_path / ("n" * 250), b"")  # its unfinished file has a longer name
    assert refusal.value.filename == str(tmp_path / ("n" * 250))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as refusal:
        write_atomically(tmp_path / "a", b"")
    assert refusal.value.filename == str(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_an_error_about_another_file_keeps_its_name() -> None:
    def read() -> None:
        with naming(Path("a")):
            Path("/nowhere/b").read_text()

    with pytest.raises(FileNotFoundError) as refusal:
        read()
    assert refusal.value.filename == "/nowhere/b"


def test_trying_a_place_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").write_text("old")
    for name in ("old", "new", "deep/er/new"):
        try_place(tmp_path / name)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("old", "old")]
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as refusal:
        try_place(tmp_path / "deep" / "er" / "new")
    assert refusal.value.filename == str(tmp_path / "deep" / "er" / "new")
    assert [file.name for file in tmp_path.iterdir()] == ["old"]


def test_a_file_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError):
        try_place(tmp_path / "a")
    with pytest.raises(IsADirectoryError):
        try_place(tmp_path)


# --- the sentence ---

TOLD = {
    errno.ENOSPC: "'a.csv': the disk is full; make room, or choose another place",
    errno.EDQUOT: "'a.csv': the quota of this disk is used up; make room, or choose another place",
    errno.EFBIG: "'a.csv': no file may grow so large here; raise the limit (ulimit -f), or choose another place",
    errno.EROFS: "'a.csv': the file system is read-only; choose another place",
    errno.EACCES: "'a.csv': there is no permission; change that, or choose another place",
    errno.EMFILE: "'a.csv': too many files are open; raise the limit (ulimit -n)",
    errno.ENAMETOOLONG: "'a.csv': the name is too long; choose a shorter one",
    errno.EISDIR: "'a.csv': it is a folder; name a file",
    errno.ENOTDIR: "'a.csv': a part of the path is a file and no folder; check the path",
    errno.EIO: "'a.csv': the disk fails; check it, or choose another place",
    errno.ENOENT: "'a.csv': No such file or directory; check the path",
    errno.ESTALE: "'a.csv': Stale file handle; check the path",
}


@pytest.mark.parametrize("number", TOLD)
def test_what_the_system_refuses_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def failed(argv: list[str]) -> int:
        raise OSError(number, os.strerror(number), "a.csv")

    monkeypatch.setattr(cli, "_run", failed)
    assert cli.main(["demo"]) == 2
    assert capsys.readouterr().err == f"fea: error: {TOLD[number]}\n"


def too_much() -> None:
    """What torch says on a CPU."""
    torch.empty(1 << 60)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), too_much])
def test_memory_that_ran_out_is_one_sentence_in_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Any
) -> None:
    def failed(argv: list[str]) -> int:
        if isinstance(error, Exception):
            raise error
        return int(error())

    monkeypatch.setattr(cli, "_run", failed)
    assert cli.main(["analyze"]) == 2
    assert capsys.readouterr().err.startswith("fea: error: out of memory; lower what is done at once (batch_size")
    monkeypatch.setattr(cli, "_run", lambda argv: torch.zeros(2).view(3))
    with pytest.raises(RuntimeError, match="shape"):  # a fault of the code stays one
        cli.main(["analyze"])


def test_without_a_file_only_what_is_about_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert errors.told_by(OSError(errno.EMFILE, "")) == "too many files are open; raise the limit (ulimit -n)"
    for error in (OSError(errno.ECONNREFUSED, "refused"), OSError("of a library"), TimeoutError()):
        assert errors.told_by(error) is None


@pytest.mark.parametrize(
    ("variables", "file"),
    [
        ({"HF_HOME": "/ro/hf"}, "/ro/hf/datasets/fea"),
        ({"HF_HOME": "/ro/hf"}, "/ro"),
        ({"HF_DATASETS_CACHE": "/ro/cache", "HF_HOME": "/rw"}, "/ro/cache/fea/x.arrow"),
        ({"XDG_CACHE_HOME": "/ro"}, "/ro/huggingface/datasets"),
        ({"HOME": "/ro"}, "/ro/.cache/huggingface/hub/x"),
    ],
)
def test_a_cache_that_cannot_be_written_names_what_moves_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], file: str
) -> None:
    for name in ("HF_HOME", "HF_DATASETS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    told = "data files are cached there: name another folder with HF_HOME or HF_DATASETS_CACHE"
    assert errors.told_by(OSError(errno.EROFS, "", file)) == f"'{file}': the file system is read-only; {told}"
    assert told not in str(errors.told_by(OSError(errno.EROFS, "", "/elsewhere/a.csv")))


def test_a_folder_above_a_cache_that_is_there_has_nothing_to_do_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    error = OSError(errno.EACCES, "", str(tmp_path))
    assert "HF_HOME" in str(errors.told_by(error))  # it cannot be made there
    (tmp_path / "hf").mkdir()
    assert "HF_HOME" not in str(errors.told_by(error))


def test_a_full_disk_behind_the_output_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as output, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", output)
        assert cli.main(["--version"]) == 2
    assert (
        capfd.readouterr().err
        == "fea: error: 'standard output': the disk is full; make room, or choose another place\n"
    )


def test_a_working_directory_that_is_gone_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.main(["--version"]) == 2
    assert capsys.readouterr().err == "fea: error: the working directory is not there any more; change to another one\n"


def test_a_name_that_is_no_text_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "out", "w", encoding="ascii") as output, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", output)
        patch.setattr(cli, "_run", lambda argv: print("a\udcff.png ä") or 0)
        assert cli.main(["demo"]) == 0
    assert (tmp_path / "out").read_text() == "a\\udcff.png \\xe4\n"
