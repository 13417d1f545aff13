"""BP4D-Spontaneous: 41 people in eight tasks, Action Units coded as present or absent, five of them graded as well.

    BP4D/AUCoding/AU_OCC/F001_T1.csv              first line 0,1,2,...: the frame, then a column for each unit; 9: not coded
    BP4D/AUCoding/AU_INT/AU06/F001_T1_AU06.csv    lines "frame,grade"; 9: not coded
    BP4D/Sequences(2D+3D)/F001/T1/2440.jpg        names of three or four digits

(Layout: loaders of ME-GraphAU and OpenGraphAU, FERA 2015.) The task is what people were made to feel, and no label.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from fea.datasets.conversion import Dropped, Face, Faces, Format, Source, by_number
from fea.datasets.dataset import Dataset
from fea.datasets.images import NOT_THERE, folders_below, frames, images_in, inside
from fea.datasets.reading import Table, code, grade, lines_of, natural
from fea.errors import FEAError
from fea.facs import ACTION_UNITS

_PARTS = (
    "F007 F015 F006 F019 M006 M009 F012 M003 F004 F021 F017 M015 F014",
    "M011 F003 M010 M002 F005 F022 M018 M017 F013 M016 F020 F011 M013 M005",
    "F001 M007 F018 F008 F002 M004 F010 F009 M012 M001 F016 M014 F023 M008",
)
BP4D = Dataset(
    "bp4d",
    "non-commercial internal research; no redistribution",
    # Test parts of the three folds in the lists of ME-GraphAU (data/BP4D/list).
    folds=tuple(frozenset(part.split()) for part in _PARTS),
)
_SESSION = re.compile(r"([FM]\d{3})[_/](T\d+)", re.IGNORECASE)


def _recognizes(path: Path) -> bool:
    return path.is_dir() and _tables(path) != []


def _tables(path: Path) -> list[Path]:
    """The tables of occurrence, one a session."""
    folder = inside(path, "AU_OCC") or path
    return sorted(file for file in folder.glob("*.[cC][sS][vV]") if re.fullmatch(r"(?i)[FM]\d{3}_T\d+", file.stem))


def _faces(source: Source) -> Faces:
    path = source.path.parent if source.path.is_file() else source.path
    tables = [source.path] if source.path.is_file() else _tables(path)
    if not tables:
        raise FEAError(f"'{path}' holds no tables such as AUCoding/AU_OCC/F001_T1.csv; give the folder of BP4D")
    folders = _frame_folders(source)
    graded = inside(path, "AU_INT")
    for file in tables:
        subject, task = file.stem.upper().split("_")
        yield from _session(file, subject, task, folders.get((subject, task)), _grades(graded, f"{subject}_{task}"))


def _frame_folders(source: Source) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for path in folders_below(source.images, 4):
        session = _SESSION.search("/".join(path.split("/")[-2:]))
        if session and session.end() == len("/".join(path.split("/")[-2:])) and images_in(path):
            found.setdefault((session[1].upper(), session[2].upper()), path)
    if not found:
        raise FEAError(
            f"there are no frames such as F001/T1/2440.jpg below '{source.images}'; name their folder with --image_root"
        )
    return found


def _session(
    file: Path, subject: str, task: str, folder: str | None, grades: Mapping[int, Mapping[str, float]]
) -> Faces:
    table = Table(file)
    units = {name: f"AU{name}" for name in table.columns[1:] if name.isdigit() and int(name) in ACTION_UNITS}
    images = frames(folder) if folder else {}
    fold = BP4D.fold_of(subject)
    for line, row in table:
        place = f"row {line} of '{file}'"
        frame = None if row is None else code(row[table.columns[0]])
        if row is None or frame is None:
            yield Dropped("the row does not fit the columns", place)
            continue
        flags = {unit: row[name] for name, unit in units.items() if row[name] in ("0", "1")}
        if frame not in images:
            yield Dropped(NOT_THERE, f"frame {frame} of {subject}/{task}")
        elif not flags:
            yield Dropped("no unit is coded", place)
        else:
            shown = by_number(unit for unit, flag in flags.items() if flag == "1")
            meta = {"subject": subject, **({"fold": fold} if fold else {}), "task": task, "frame": frame}
            yield Face(
                f"bp4d-{subject}-{task}-{frame:04d}", images[frame], (), shown, by_number(flags),
                grades.get(frame, {}), meta=meta,
            )  # fmt: skip


def _grades(folder: Path | None, session: str) -> Mapping[int, Mapping[str, float]]:
    """By frame, the grades of the units that were graded."""
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for inner in sorted(folder.iterdir(), key=lambda path: natural(path.name)) if folder else []:
        named = re.fullmatch(r"(?i)AU0*(\d+)", inner.name)
        file = inner / f"{session}_{inner.name}.csv"
        for line in lines_of(file) if named and file.is_file() else []:
            frame, _, value = line.partition(",")
            number = code(frame.strip())
            try:
                level = grade(value.strip())
            except ValueError:  # the line with the names
                continue
            if named and number is not None and level is not None:
                found[number][f"AU{int(named[1])}"] = level
    return found


FORMAT = Format("bp4d", "BP4D", _faces, _recognizes, "BP4D")
