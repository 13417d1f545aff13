"""Settings of a data file."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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


def option(name: str, file: Path, image_root: Path | str) -> str:
    """A file and the folder of its images as they are typed: --data.train '[{file: train.jsonl, image_root: my_photos}]'.

    Args:
        name: of the set, "train", "val", "test" or "predict".
        file: the data file.
        image_root: folder of its images.
    """
    import yaml  # type: ignore[import-untyped]

    entry = {"file": str(file), "image_root": str(image_root)}
    # A line without end: names that YAML would read otherwise are quoted, and nothing is broken.
    typed = yaml.safe_dump([entry], default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
    return f"--data.{name} {shlex.quote(typed.strip())}"


def told_root(root: Path | str, files: Mapping[str, Path]) -> str:
    """What is said of files whose images lie in another folder, with the options to copy.

    Args:
        root: folder that the images are relative to.
        files: by the name of their set.
    """
    root, here = Path(root).resolve(), Path.cwd()
    shown = os.path.relpath(root, here) if root.is_relative_to(here) else root
    options = " ".join(option(name, file, shown) for name, file in files.items())
    other = f"to commands such as fea data check: --image_root {shlex.quote(str(shown))}"
    return f"the images are relative to '{shown}'; give it with the file: {options}; {other}"
