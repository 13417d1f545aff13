"""Settings of a data file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fea.errors import FEAError
from fea.facs import Emotions

OnBad = Literal["raise", "skip"]


@dataclass
class Source:
    """One data file.

    Args:
        file: JSONL in FEA-20K format, one object a line.
        image_root: folder of its images; null: the folder of the file.
        emotions: its allowed emotions, if they differ from those of the data module.
        wrap: put descriptions without tags into think and answer blocks; false: take them as they stand.
        weight: how often its examples are drawn in training, relative to those of other files; with all equal, each example is
            shown once an epoch.
        overlap: of a file of `val` or `test`: it may share people and images with the training files; otherwise such files are
            refused before a run.
    """

    file: str
    image_root: str | None = None
    emotions: Emotions | None = None
    wrap: bool = True
    weight: float = 1.0
    overlap: bool = False

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise FEAError(
                f"data: weight of '{self.file}': {self.weight}; give a number above 0, or leave the file out"
            )
