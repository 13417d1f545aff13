"""What loggers show beside numbers: tables of text and pictures; and that a run which goes on keeps its log.

    logger                 table                                  pictures
    TensorBoardLogger      text of that name                      images
    CSVLogger              NAME.csv beside its metrics.csv        none: a row tells the example's id
    WandbLogger            a table                                images
    MLFlowLogger           artifact NAME/step-000020.md           artifacts NAME/step-000020-0.png

Several loggers are a list in `trainer.logger`. The folder of a run is that of the first, one of the upper two. Others are told
numbers alone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import lightning.pytorch as L
import numpy as np
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from fea.errors import FEAError
from fea.reports.curves import METRICS
from fea.system.files import write_atomically
from fea.training import loop

_IN_FOLDERS = (TensorBoardLogger, CSVLogger)
_SHOWING = (*_IN_FOLDERS, WandbLogger, MLFlowLogger)


def check_folder(loggers: Sequence[Logger]) -> None:
    """Refuses loggers of which the first has no folder for a run.

    Raises:
        FEAError: with the way out.
    """
    if loggers and not isinstance(loggers[0], _IN_FOLDERS):
        raise FEAError(
            f"trainer.logger: a run lies in the folder of its first logger, and {type(loggers[0]).__name__} has none for each "
            "run; name TensorBoardLogger or CSVLogger before it"
        )


def silent(loggers: Iterable[Logger]) -> list[str]:
    """The kinds of loggers that show no tables."""
    return sorted({type(logger).__name__ for logger in loggers if not isinstance(logger, _SHOWING)})


def show_table(
    loggers: Iterable[Logger], name: str, columns: Sequence[str], rows: Sequence[Sequence[str]], step: int
) -> None:
    """Shows a table in each logger that can; called by the first of several processes.

    Args:
        loggers: of a trainer.
        name: under which the tables of all steps are found.
        columns: heads.
        rows: texts of the cells, one for each column.
        step: optimizer steps made.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(name, markdown(columns, rows), step)
        elif isinstance(logger, CSVLogger):
            _append(Path(logger.log_dir) / f"{name}.csv", columns, rows, step)
        elif isinstance(logger, WandbLogger):
            logger.log_table(name, columns=list(columns), data=[list(row) for row in rows], step=step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_text(str(logger.run_id), markdown(columns, rows), f"{name}/step-{step:06d}.md")


def show_pictures(loggers: Iterable[Logger], name: str, pictures: Sequence[Image.Image], step: int) -> None:
    """Shows pictures in each logger that can, numbered from 0; otherwise as `show_table`."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(f"{name}/faces", images=list(pictures), step=step)
            continue
        for number, picture in enumerate(pictures):
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(f"{name}/{number}", np.asarray(picture), step, dataformats="HWC")
            elif isinstance(logger, MLFlowLogger):
                place = f"{name}/step-{step:06d}-{number}.png"
                logger.experiment.log_image(str(logger.run_id), picture, artifact_file=place)


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, in which no text is taken for markup."""
    lines = [columns, ["---"] * len(columns)]
    lines += [[cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _append(file: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], step: int) -> None:
    """Adds a table; those of this step and of later ones, which a run that went on makes again, give way."""
    heads, before = _read(file)
    before = [row for row in before if not row.get("step", "").isdecimal() or int(row["step"]) < step]
    heads = list(dict.fromkeys(["step", *heads, *columns]))
    _write(file, heads, [*before, *({"step": str(step), **dict(zip(columns, row, strict=True))} for row in rows)])


def _write(file: Path, heads: Sequence[str], rows: Iterable[dict[str, str]]) -> None:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, heads, restval="")
    table.writeheader()
    table.writerows(rows)
    write_atomically(file, text.getvalue().encode(errors="backslashreplace"))


def _read(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Heads and rows of a table; none if there is no file. A cell that is missing is empty, one too many is left out."""
    if not file.is_file():
        return [], []
    with file.open(encoding="utf-8", errors="backslashreplace", newline="") as stream:
        table = csv.DictReader(stream, restval="")
        rows = [{name: cell for name, cell in row.items() if name is not None} for row in table]
    return list(table.fieldnames or ()), rows


def counts(loggers: Iterable[Logger]) -> list[int]:
    """Rows of metrics that each CSVLogger has written, in their order: so many are those of a checkpoint made now."""
    return [len(_read(Path(logger.log_dir) / METRICS)[1]) for logger in loggers if isinstance(logger, CSVLogger)]


def begin(trainer: L.Trainer, kept: Sequence[int] | None, name: str = METRICS) -> None:
    """Has each CSVLogger add to the metrics that are there; by itself it would delete them.

    Args:
        trainer: none of whose loggers is in use yet.
        kept: rows that stay, by logger; none where there is no number. None: all stay.
        name: of the file.
    """
    tables = [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]
    for number, logger in enumerate(tables if trainer.is_global_zero else ()):
        file = Path(logger.log_dir) / name
        heads, rows = _read(file)
        if kept is not None:
            rows = rows[: kept[number] if number < len(kept) else 0]
        if rows:
            _write(file, heads, rows)
        else:
            file.unlink(missing_ok=True)
        loop.write_on(logger, file, heads if rows else [])
