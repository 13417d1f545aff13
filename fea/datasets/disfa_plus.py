"""DISFA+: posed and spontaneous expressions of nine people of DISFA, the same 12 units graded from 0 to 5 in every frame.

    DISFA+/Labels/SN001/A1_AU1_TrialNo_1/AU12.txt       lines that begin with # or say nothing of a frame, then "000.jpg   3"
    DISFA+/Images/SN001/A1_AU1_TrialNo_1/000.jpg

(Layout: the loader in the evaluation of Py-Feat.) There are no published folds; its people are people of DISFA.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fea.datasets.conversion import Dropped, Face, Faces, Format, Source, coding
from fea.datasets.disfa import DISFA, PRESENT
from fea.datasets.images import NOT_THERE, images_in, inside
from fea.datasets.reading import grade, lines_of, natural
from fea.errors import FEAError

_SUBJECT = re.compile(r"SN\d{3}", re.IGNORECASE)
_TABLE = re.compile(r"AU0*(\d+)\.txt", re.IGNORECASE)
_LABELS, _IMAGES = "Labels", "Images"


def _recognizes(path: Path) -> bool:
    labels = inside(path, _LABELS, 1) if path.is_dir() else None
    return labels is not None and bool(_sessions(labels))


def _sessions(labels: Path) -> list[Path]:
    """The folders of trials, those of a person together."""
    people = (path for path in labels.iterdir() if path.is_dir() and _SUBJECT.fullmatch(path.name))
    trials = (trial for person in sorted(people) for trial in person.iterdir() if trial.is_dir())
    return sorted(trials, key=lambda trial: (trial.parent.name.upper(), natural(trial.name)))


def _faces(source: Source) -> Faces:
    labels = inside(source.path, _LABELS, 1)
    sessions = _sessions(labels) if labels else []
    if not sessions:
        raise FEAError(f"'{source.path}' has no folders such as {_LABELS}/SN001/TRIAL; give the folder of DISFA+")
    threshold = PRESENT if source.threshold is None else source.threshold
    source.note(
        f"a unit shows from grade {threshold:g} on (meta_info.threshold); the grades are kept in AU_intensities"
    )
    root = inside(source.images, _IMAGES, 1) or source.images
    for session in sessions:
        yield from _session(session, root / session.parent.name / session.name, threshold)


def _session(session: Path, folder: Path, threshold: float) -> Iterator[Face | Dropped]:
    subject, trial = session.parent.name.upper(), session.name
    tables = {int(match[1]): _grades(file) for file in session.iterdir() if (match := _TABLE.fullmatch(file.name))}
    coded = {f"AU{number}": tables[number] for number in sorted(tables) if number in (DISFA.coded or ())}
    images = {path.rpartition("/")[2].rpartition(".")[0]: path for path in images_in(folder)} if folder.is_dir() else {}
    for frame in sorted(set().union(*coded.values()), key=natural):
        image = images.get(frame)
        units = coding({unit: table.get(frame) for unit, table in coded.items()}, threshold)
        place = f"{frame} of {subject}/{trial}"
        if image is None:
            yield Dropped(NOT_THERE, place)
        elif units.present is None:
            yield Dropped("no unit is coded", place)
        else:
            meta = {"subject": subject, "trial": trial, "frame": frame, "threshold": threshold}
            name = f"disfa+-{subject}-{trial}-{frame}"
            yield Face(name, image, (), units.present, units.coded, units.grades, meta=meta)


def _grades(file: Path) -> dict[str, float | None]:
    """Grade by the name of the image, without its ending; a grade that is none is unknown."""
    found: dict[str, float | None] = {}
    for line in lines_of(file):
        words = line.split()
        if len(words) != 2 or line.startswith("#") or "." not in words[0]:
            continue
        try:
            found[words[0].rpartition(".")[0]] = grade(words[1])
        except ValueError:
            found[words[0].rpartition(".")[0]] = None
    return found


FORMAT = Format("disfa+", "DISFA+", _faces, _recognizes, "DISFA+")
