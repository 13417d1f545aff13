"""Where a command writes a folder of its own."""

from __future__ import annotations

from pathlib import Path

from fea.errors import FEAError
from fea.system.files import naming, try_place


def check_place(out: Path) -> None:
    """Refuses a folder that holds something, or in which nothing can be written, before the work.

    Raises:
        FEAError: it holds something, or is a file.
        OSError: nothing can be written there.
    """
    with naming(out):
        if out.is_dir() and any(out.iterdir()):
            raise FEAError(f"out: '{out}' is not empty; name a folder that is not there yet, or empty it")
        if out.exists() and not out.is_dir():
            raise FEAError(f"out: '{out}' is a file; name a folder")
    try_place(out / "README.md")
