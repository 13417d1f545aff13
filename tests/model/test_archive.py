"""Checkpoint files that are damaged, foreign or hostile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fea.errors import FEAError
from fea.model.archive import read


class Code:
    """Running this on load would be an attack."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("loaded",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "cannot be read"),
        (b"PK\x03\x04 cut short", "cannot be read"),
        (b"no checkpoint at all", "cannot be read"),
        ({"fea": {}, "state_dict": Code()}, "cannot be read"),
        ({"state_dict": {}}, "was not written by fea"),
        ([1, 2], "was not written by fea"),
        (None, "does not exist"),
    ],
    ids=["empty", "cut", "text", "code", "foreign", "list", "missing"],
)
def test_damaged_and_foreign_files_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, told: str
) -> None:
    file = tmp_path / "x.ckpt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(FEAError, match=f"'{file}' {told}") as error:
        read(file)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""  # nothing of the file ran


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A checkpoint of a megabyte, most of it weights."""
    torch.save({"fea": {}, "state_dict": {"w": torch.rand(2, 131072)}}, tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


def test_a_file_that_was_cut_short_is_damaged(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(FEAError, match="damaged"):
        read(file)


@pytest.mark.parametrize("size", [100_000, 1], ids=["much", "a byte"])
def test_weights_that_were_overwritten_are_told_by_their_checksum(file: Path, size: int) -> None:
    """The tensors have the right shapes still, so the trainer's own reading does not notice."""
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + size] = bytes(255 - byte for byte in content[middle : middle + size])
    file.write_bytes(content)
    assert torch.load(file, weights_only=True)["state_dict"]["w"].shape == (2, 131072)
    with pytest.raises(
        FEAError, match=r"x.ckpt' cannot be read: it is damaged \('x/data/0' in it does not match its che"
    ):
        read(file)


def test_a_file_is_compared_again_when_it_has_changed(file: Path) -> None:
    read(file)
    test_weights_that_were_overwritten_are_told_by_their_checksum(file, 1000)
