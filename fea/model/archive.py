"""Checkpoint files: read without running code, and compared with the checksums that stand in them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch

from fea.errors import FEAError

_PARTS = {"fea", "state_dict"}  # without which a file is none of ours


def read(path: Path, mapped: bool = True) -> dict[str, Any]:
    """Opens a checkpoint, after every byte of it has been compared with its checksum.

    Args:
        path: of the file.
        mapped: tensors are read from the file when they are used, so that an optimizer that nobody asks for costs no memory.

    Raises:
        FEAError: there is none, it is damaged, holds anything but tensors and plain values, or was not written by fea.
    """
    checkpoint = opened(path, mapped)
    stat = path.stat()
    if part := _damaged(path.resolve(), stat.st_size, stat.st_mtime_ns):
        raise FEAError(
            f"checkpoint '{path}' cannot be read: it is damaged ('{part}' in it does not match its checksum); take another"
        )
    return checkpoint


def opened(path: Path, mapped: bool = True) -> dict[str, Any]:
    """The same without a look at the tensors, for what else it says."""
    if not path.is_file():
        raise FEAError(f"checkpoint '{path}' does not exist; name a .ckpt file from the checkpoints/ folder of a run")
    try:
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except PermissionError as error:
        raise FEAError(f"checkpoint '{path}' cannot be read ({error.strerror}); check the path") from error
    except Exception as error:  # damaged files raise a dozen different kinds
        raise FEAError(
            f"checkpoint '{path}' cannot be read: it is damaged, or holds more than tensors and plain values; take another"
        ) from error
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= _PARTS:
        raise FEAError(f"checkpoint '{path}' was not written by fea; name one from the checkpoints/ folder of a run")
    return dict(checkpoint)


@lru_cache(maxsize=64)  # a command asks several times; a run has few checkpoints
def _damaged(path: Path, size: int, mtime_ns: int) -> str | None:
    """The first part that is not what was written: torch writes a ZIP archive with a CRC-32 of each part, and compares none."""
    try:
        with ZipFile(path) as archive:
            return archive.testzip()
    except Exception as error:  # as above
        return str(error)
