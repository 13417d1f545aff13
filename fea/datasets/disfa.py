"""DISFA: 27 people watching films, 12 Action Units graded from 0 to 5 in every frame.

    DISFA/ActionUnit_Labels/SN001/SN001_au1.txt     lines "frame,grade", frames from 1
    DISFA/.../SN001/0001.png                        or LeftVideoSN001_comp/..._0001.png, in any folder

It comes as films: `ffmpeg -i LeftVideoSN001_comp.avi frames/SN001/%04d.png` makes the frames. (Layout: label scripts of
ME-GraphAU and LibreFace; that frames count from 1: their labels run from 1 to 4845.)
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fea.datasets.conversion import Dropped, Face, Faces, Format, Source, coding
from fea.datasets.dataset import Dataset
from fea.datasets.images import NOT_THERE, folders_below, frames, images_in, inside
from fea.datasets.reading import code, grade, lines_of
from fea.errors import FEAError

# From which grade on a unit counts as present: 2, as in the published protocol on eight of the units (ME-GraphAU, LibreFace).
PRESENT = 2.0
_PARTS = (
    "SN003 SN029 SN023 SN025 SN008 SN005 SN007 SN017 SN004",
    "SN013 SN018 SN011 SN028 SN012 SN006 SN031 SN021 SN024",
    "SN002 SN010 SN001 SN026 SN027 SN032 SN030 SN009 SN016",
)
DISFA = Dataset(
    "disfa",
    "research; no passing on",
    frozenset((1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)),
    # Test parts of the three folds in the lists of ME-GraphAU (data/DISFA/list), which LibreFace has, too.
    folds=tuple(frozenset(part.split()) for part in _PARTS),
)
_SUBJECT = re.compile(r"SN\d{3}", re.IGNORECASE)
_TABLE = re.compile(r"_au(\d+)\.txt$", re.IGNORECASE)
_LABELS = "ActionUnit_Labels"


def _recognizes(path: Path) -> bool:
    return path.is_dir() and inside(path, _LABELS, 1) is not None


def _faces(source: Source) -> Faces:
    labels = inside(source.path, _LABELS, 1)
    if labels is None:
        raise FEAError(f"'{source.path}' has no folder '{_LABELS}'; give the folder of DISFA that holds it")
    threshold = PRESENT if source.threshold is None else source.threshold
    source.note(
        f"a unit shows from grade {threshold:g} on (meta_info.threshold); the grades are kept in AU_intensities"
    )
    folders = _frame_folders(source)
    for folder in sorted(path for path in labels.iterdir() if path.is_dir()):
        yield from _subject(folder, folders.get(folder.name.upper()), threshold, source)


def _frame_folders(source: Source) -> dict[str, str]:
    """The folder with the frames of each person, of the left camera where there are two."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in folders_below(source.images, 4):
        subject = _SUBJECT.search(os.path.basename(path))
        if subject and _LABELS.lower() not in path.lower() and images_in(path):
            found[subject[0].upper()].append(path)
    if not found:
        raise FEAError(
            f"there are no frames of DISFA below '{source.images}'; make them from the films, such as with `ffmpeg -i "
            "LeftVideoSN001_comp.avi frames/SN001/%04d.png`, and name their folder with --image_root"
        )
    if any(len(paths) > 1 for paths in found.values()):
        source.note("there are frames of several cameras: those of the left one, or of the first by name, are taken")
    return {
        subject: min(paths, key=lambda path: ("left" not in path.lower(), path)) for subject, paths in found.items()
    }


def _subject(labels: Path, folder: str | None, threshold: float, source: Source) -> Iterator[Face | Dropped]:
    subject = labels.name.upper()
    tables = {int(match[1]): _grades(file) for file in sorted(labels.iterdir()) if (match := _TABLE.search(file.name))}
    coded = {number: table for number, table in tables.items() if number in (DISFA.coded or ())}
    if missing := sorted((DISFA.coded or frozenset()) - coded.keys()):
        source.note(f"{subject} has no table of {', '.join(f'AU{n}' for n in missing)}: unknown there")
    numbers = sorted(set().union(*coded.values()))
    fold = DISFA.fold_of(subject)
    if fold is None:
        yield Dropped("the person is in none of the published folds", str(labels), len(numbers))
        return
    images = frames(folder) if folder else {}
    offset = _offset(numbers, images)
    for number in numbers:
        image = images.get(number + offset)
        units = coding({f"AU{unit}": table.get(number) for unit, table in coded.items()}, threshold)
        if image is None:
            yield Dropped(NOT_THERE, f"frame {number} of {subject}")
        elif units.present is None:
            yield Dropped("no unit is coded", f"frame {number} of {subject}")
        else:
            meta = {"subject": subject, "fold": fold, "frame": number, "threshold": threshold}
            yield Face(f"disfa-{subject}-{number:04d}", image, (), units.present, units.coded, units.grades, meta=meta)


def _grades(file: Path) -> dict[int, float | None]:
    """Grade by frame; a line that says neither is left out, a grade that is none is unknown."""
    found: dict[int, float | None] = {}
    for line in lines_of(file):
        frame, _, value = line.replace(";", ",").replace("\t", ",").partition(",")
        number = code(frame.strip())
        if number is not None:
            try:
                found[number] = grade(value.strip())
            except ValueError:
                found[number] = None
    return found


def _offset(numbers: list[int], images: dict[int, str]) -> int:
    """What is added to the frame of a label for the number of its image: -1 for images that are counted from 0."""
    return max((0, -1), key=lambda offset: sum(number + offset in images for number in numbers))


FORMAT = Format("disfa", "DISFA", _faces, _recognizes, "DISFA")
