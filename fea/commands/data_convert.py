"""`fea data convert`: from the files of a data set to JSON lines, with what was left out and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fea.datasets.conversion import Format, Source
    from fea.datasets.writing import Records

_SHOWN = 10  # reasons that are listed


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
            where that can be. Formats: disfa, bp4d, raf-au, raf-db, affectnet, fer2013, ferplus, ck+, faba-instruct,
            fea20k, conversations, imagefolder, csv, parquet, hf; openface, py-feat and libreface for silver labels.
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
    from fea.datasets.conversion import Source
    from fea.datasets.writing import Records
    from fea.facs import emotion_set

    found, path = _chosen(source)
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
    print(*_told(found, given, records, out, len(source) < 2, dry_run), sep="\n")
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


def _chosen(source: list[str]) -> tuple[Format, Path]:
    """The format and the place that were named, or the format that the place shows."""
    import difflib

    from fea.datasets.known import FORMATS, recognize
    from fea.errors import FEAError

    if len(source) > 2:
        raise FEAError(f"source: found {len(source)} words; give the name of a format and one file or folder")
    path = Path(source[-1])
    if len(source) == 2 and source[0].lower() not in FORMATS:
        near = difflib.get_close_matches(source[0].lower(), FORMATS, 1, cutoff=0.5)
        raise FEAError(
            f"there is no format '{source[0]}'; "
            + (f"did you mean '{near[0]}'?" if near else f"formats are {', '.join(FORMATS)}")
        )
    if len(source) == 2 and source[0].lower() == "hf":
        return FORMATS["hf"], path
    if not path.exists():
        hint = "; name the file or folder after it" if source[-1] in FORMATS else "; check the path"
        raise FEAError(f"'{path}' does not exist{hint}")
    found = FORMATS[source[0].lower()] if len(source) == 2 else recognize(path)
    if found is None:
        raise FEAError(
            f"'{path}' does not show what format it is of; name it: fea data convert NAME {path}; formats are "
            f"{', '.join(FORMATS)}"
        )
    return found, path


def _write(records: Records, out: Path, from_labels: int, source: Source, dry_run: bool) -> None:
    from fea.datasets.analyses import WORTH
    from fea.datasets.writing import nothing_left, write
    from fea.errors import FEAError

    if not dry_run:
        written = write(records, out, from_labels)
        if from_labels:
            source.note(f"{written} plain analyses were written from the labels ('analysis' in meta_info); {WORTH}")
        return
    for _ in records:
        pass
    if not records.tally.faces:
        raise FEAError(nothing_left(records.tally))


def _told(found: Format, source: Source, records: Records, out: Path, guessed: bool, dry_run: bool) -> Iterator[str]:
    """What was done, what was left out, and what comes next."""
    import os

    from fea.facs import EMOTION_SETS
    from fea.reports import tables

    tally = records.tally
    if guessed:
        yield f"took '{source.path}' for {found.told} ({found.name})"
    yield f"{out}: {tally.faces} faces of {tally.rows} rows" + "; a dry run, nothing was written" * dry_run
    yield from filter(None, [tables.plain("  {:<20} {}", tally.labels.most_common())])
    yield f"Action Units coded: {tally.coded}; analyses: {tally.described}"
    if tally.splits:
        yield "split: " + ", ".join(f"{name} {count}" for name, count in sorted(tally.splits.items()))
    if tally.dropped:
        yield f"left out: {sum(tally.dropped.values())} rows"
        for reason, count in tally.dropped.most_common(_SHOWN):
            yield f"  {count} x {reason} (the first: {tally.first[reason]})"
        if len(tally.dropped) > _SHOWN:
            yield f"  ... and {len(tally.dropped) - _SHOWN} more reasons"
    yield from (f"note: {note}" for note in source.notes)
    if records.root != os.path.abspath(out.parent):
        yield f"the images are relative to '{records.root}': name it as image_root of the file"
    root = f" --image_root '{records.root}'" if records.root != os.path.abspath(out.parent) else ""
    preset = "" if set(tally.labels) <= set(EMOTION_SETS["basic7"]) else " --emotions basic8"
    if not dry_run:
        yield f"next: fea data check '{out}'{root}{preset}"
