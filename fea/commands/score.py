"""`fea score`: the answers of any model, scored by a protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fea.data.example import Example
    from fea.protocols.cases import Case
    from fea.protocols.known import Protocol
    from fea.protocols.scored import Scored


def score(
    files: list[str],
    *,
    protocol: str,
    labels: Path | None = None,
    out: Path | None = None,
    lenient: bool = False,
    image_root: Path | None = None,
    threshold: float | None = None,
    columns: dict[str, str] | None = None,
    classes: list[str] | None = None,
    draws: int = 2000,
    seed: int = 0,
    export: Literal["lmms-eval"] | None = None,
) -> int:
    """Scores the answers of any model by a protocol: texts, labels, or tables of OpenFace, Py-Feat and LibreFace.

    JSON lines name a face by "id" or "image" and hold a "text" (or "output", "response", "prediction", ...), or "AUs" and
    "emotion"; tables have columns of such names. Texts are read strictly, by the format that `fea` asks for, and leniently, as
    free text; both are shown. What could not be matched is counted and named; a face without an answer counts as wrong.

    Args:
        files: with answers; several are taken together, such as those of three folds. With `export`, the folder to write.
        protocol: disfa-8, bp4d-12, raf-au, faba-12, rafdb-7, affectnet-7, affectnet-8, fer2013-7, ck+, fea20k or facial-r1.
        labels: the truth, JSONL in FEA-20K format; not needed for `predictions.jsonl` of `fea test --protocol`.
        out: folder for `metrics.json`, `predictions.jsonl` and `report.html`; by default nothing is written.
        lenient: what is written counts texts as they are read leniently.
        image_root: folder of the images of the labels; by default the folder of that file. No image is opened.
        threshold: from which intensity or probability on a unit of a table shows; by default the converter's own.
        columns: which column of a table is what, where the names differ: '{image: file, labels: emo}'.
        classes: what the numbers of an emotion column mean, from 0 on.
        draws: of the bootstrap; 0 for no intervals.
        seed: of the draws.
        export: "lmms-eval" writes a task folder, with which lmms-eval asks any model about the faces of `labels` as we do.

    Returns:
        0.

    Raises:
        FEAError: a file cannot be read, or does not fit the protocol; or the folder for an export holds something.
    """
    from fea.datasets.conversion import Source
    from fea.protocols.answered import answered
    from fea.protocols.known import protocol_of

    named, places = protocol_of(protocol), [Path(file) for file in files]
    if export:
        others = {"out": out, "lenient": lenient, "threshold": threshold, "columns": columns, "classes": classes}
        return _export(named, places, labels, image_root, others)
    _check(out, draws, seed)
    examples = _examples(named, places, labels, image_root)
    root = image_root or (labels or places[0]).parent
    words = named.emotions or examples[0].emotions
    source = Source(places[0], root, threshold, None, columns or {}, tuple(classes or ()), words, notes=[])
    found = answered(named, examples, places, source)
    strict, free = (found.scored(way, draws if way is lenient else 0, seed) for way in (False, True))
    _tell(*(free if lenient else strict), {"strict": strict[0]} if lenient else {"lenient": free[0]}, out)
    for note in _notes(named, examples, source.notes):
        print(note)
    return 0


def _export(
    protocol: Protocol, folders: list[Path], labels: Path | None, image_root: Path | None, others: Mapping[str, object]
) -> int:
    """Writes the folder of a task."""
    from fea.errors import FEAError
    from fea.protocols.fitting import fitted
    from fea.protocols.lmms_eval import CARD, write_task
    from fea.system.sets import check_vacant

    if beside := [f"'{folder}'" for folder in folders[1:]] + [f"--{name}" for name, value in others.items() if value]:
        raise FEAError(f"export: {beside[0]} says nothing beside it; give the folder to write, --protocol and --labels")
    if labels is None:
        raise FEAError("labels: name the file with the faces to ask about, --labels FILE.jsonl")
    check_vacant(folders[0], CARD)
    examples = _examples(protocol, [], labels, image_root)
    faces = fitted(protocol, examples)
    written = write_task(folders[0], protocol, faces)
    print(f"task {written.task}: {written.faces} faces, scores {', '.join(written.metrics)}")
    for reason, names in faces.left_out.items():
        print(f"{len(names)} x {reason}, such as {names[0]}")
    print(f"written: {folders[0]}; its README.md says how lmms-eval runs it")
    for note in _notes(protocol, examples, []):
        print(note)
    return 0


def _tell(scored: Scored, cases: list[Case], other: dict[str, Scored], out: Path | None) -> None:
    """Shows the scores, and writes them."""
    from fea.protocols.scored import write
    from fea.reports.evaluation import REPORT, write_evaluation
    from fea.reports.scores import told

    print(*told(scored, other), sep="\n")
    if out:
        write(out, scored, cases)
        write_evaluation(out / REPORT, scored, cases)
        print(f"written: {out}")


def _check(out: Path | None, draws: int, seed: int) -> None:
    from fea.errors import FEAError
    from fea.protocols.scored import METRICS
    from fea.system.files import try_place

    if out and (out / METRICS).exists():
        raise FEAError(f"out: '{out / METRICS}' exists; choose another folder, or remove it")
    if out:
        try_place(out / METRICS)
    if draws < 0:
        raise FEAError(f"draws: {draws}; give a number from 0 up, 0 for no intervals")
    if seed < 0:
        raise FEAError(f"seed: {seed}; give a number from 0 up")


def _examples(protocol: Protocol, files: list[Path], labels: Path | None, image_root: Path | None) -> list[Example]:
    """The faces: of the labels, or of predictions that hold them."""
    from fea.errors import FEAError
    from fea.facs import EMOTION_SETS
    from fea.protocols.cases import read_cases
    from fea.protocols.scored import PREDICTIONS

    if labels is None:
        if any(file.suffix != ".jsonl" or not _holds_labels(file) for file in files):
            raise FEAError(
                f"labels: '{files[0]}' holds no labels; name the file with the truth, --labels FILE.jsonl (a {PREDICTIONS} "
                "that fea test --protocol wrote holds them)"
            )
        return [case.example for file in files for case in read_cases(file, EMOTION_SETS["basic8"])]
    from fea.data.table import open_jsonl
    from fea.records.record import Rules

    rules = Rules(_words(labels) if protocol.any_emotion else EMOTION_SETS["basic8"], "unknown", wrap=False)
    table = open_jsonl(labels, image_root or labels.parent, rules, "raise")
    return [table[number] for number in range(len(table))]


def _holds_labels(file: Path) -> bool:
    from fea.datasets.json_files import objects_of

    first = next((value for _, value in objects_of(file)), None)
    return isinstance(first, dict) and {"id", "text", "labels", "true_AUs", "AUs_coded"} <= first.keys()


def _words(labels: Path) -> tuple[str, ...]:
    """The emotions of a file, known ones first: a published evaluation takes the labels as they are."""
    from fea.datasets.json_files import objects_of
    from fea.facs import EMOTION_SETS, emotion_name
    from fea.records.missing import unknown
    from fea.records.record import given_labels

    rows = (value for _, value in objects_of(labels) if isinstance(value, dict))
    words = (emotion_name(word) for row in rows for word in given_labels(row) if not unknown(word))
    return tuple(dict.fromkeys([*EMOTION_SETS["basic8"], *words]))


def _notes(protocol: Protocol, examples: list[Example], notes: list[str]) -> list[str]:
    """What is to be known beside the numbers."""
    from fea.evaluation import texts

    if protocol.texts and any(example.analysis for example in examples) and not texts.available():
        notes.append(texts.MISSING)
    return [f"note: {note}" for note in notes]
