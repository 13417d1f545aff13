"""`fea data convert`: from the files of a data set to JSON lines, with what was left out and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fea.datasets.conversion import Source
    from fea.datasets.writing import Records


def convert(
    source: list[str],
    *,
    out: Path | None = None,
    image_root: Path | None = None,
    threshold: float | None = None,
    second_file: Path | None = None,
    columns: dict[str, str] | None = None,
    classes: list[str] | None = None,
    emotions: str | list[str] = "basic8",
    from_labels: int = 0,
    limit: int | None = None,
    dry_run: bool = False,
) -> int:
    """Turns the files of a data set into JSON lines; says what it left out.

    Args:
        source: the name of a format and the folder or file it is in: `raf-db RAF-DB/basic`; without the name it is recognized
            where that can be. Formats: disfa, disfa+, bp4d, raf-au, raf-db, affectnet, fer2013, ferplus, ck+, faba-instruct,
            fea20k, conversations, imagefolder, photos, csv, parquet, hf; and for silver labels openface, libreface, py-feat.
        out: the file to be written, which may not be there yet. Paths of images in its folder are relative to it.
        image_root: folder of the images; by default the source, or the folder that it lies in.
        threshold: intensity or probability from which on a unit shows; each format has its own.
        second_file: of a data set that has two: distribution.txt of RAF-ML for raf-au, fer2013.csv for ferplus.
        columns: which column of a table is what, where the names differ: '{image: file, labels: emo}'.
        classes: what the numbers 0, 1, 2, ... of an emotion column mean, in this order.
        emotions: words that are labels: "basic7", "basic8", "compound11" or a list.
        from_labels: write so many plain analyses from the labels, for stage 1 without any analyses.
        limit: convert the first so many faces only.
        dry_run: read everything, say what would be written, and write nothing.

    Returns:
        0.

    Raises:
        FEAError: the source is not there or of another format, the place is taken, or no row becomes a face.
    """
    from fea.commands._converted import told
    from fea.datasets.conversion import Source
    from fea.datasets.known import chosen
    from fea.datasets.writing import Records
    from fea.facs import emotion_set

    found, path = chosen(source, "convert")
    _check(out, limit, from_labels, dry_run)
    out = out or Path("faces.jsonl")
    given = Source(
        path=path,
        images=image_root or (path.parent if path.is_file() else path),
        threshold=threshold,
        second_file=second_file,
        columns=columns or {},
        classes=tuple(classes or ()),
        emotions=emotion_set(emotions),
        notes=[],
    )
    records = Records(found.faces(given), found.dataset, out, given.images, limit, not dry_run)
    _write(records, out, from_labels, given, dry_run)
    print(*told(found, given, records, out, len(source) < 2, dry_run), sep="\n")
    return 0


def _check(out: Path | None, limit: int | None, from_labels: int, dry_run: bool) -> None:
    from fea.datasets.writing import check_place
    from fea.errors import FEAError

    if out is None and not dry_run:
        raise FEAError("nothing is given for out; name the file to be written: -o faces.jsonl")
    if limit is not None and limit < 1:
        raise FEAError(f"limit: {limit}; give a number from 1 up")
    if from_labels < 0:
        raise FEAError(f"from_labels: {from_labels}; give a number from 0 up")
    if out and not dry_run:
        check_place(out)


def _write(records: Records, out: Path, from_labels: int, source: Source, dry_run: bool) -> None:
    from fea.datasets.analyses import WORTH
    from fea.datasets.writing import run_through, write

    if not dry_run:
        written = write(records, out, from_labels)
        if from_labels:
            source.note(f"{written} plain analyses were written from the labels ('analysis' in meta_info); {WORTH}")
        return
    run_through(records)
