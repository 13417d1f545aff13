"""`fea data folds`: a data file with the fold of each face, nobody in two of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fea.data.example import Example
    from fea.records.record import Rules


def write_folds(
    file: Path,
    *,
    out: Path,
    protocol: str | None = None,
    count: int = 5,
    image_root: Path | None = None,
    emotions: str | list[str] = "basic8",
    distance: int = 12,
    seed: int = 0,
) -> int:
    """Deals the people of a data file to folds, or takes the published ones.

    Every line gets `meta_info.fold`, which `--data.fold K` of `fea fit` and `fea test` goes by. Where lists are published
    (DISFA, BP4D), they are taken; else people are dealt so that each fold has the same share of every emotion and Action Unit.
    A line that names no person ("subject" in `meta_info`) counts as a person of its own. People whose images look alike come
    into one fold.

    Args:
        file: JSONL in FEA-20K format.
        out: the file to be written, which may not be there yet.
        protocol: take the lists of this protocol: disfa-8 or bp4d-12; by default those of the data set, if there are any.
        count: how many folds people are dealt to, where none are published.
        image_root: folder of the images; by default the folder of the file.
        emotions: words that are labels: "basic7", "basic8", "compound11" or a list.
        distance: bits of 256 in which perceptual hashes of two images may differ if they are to count as alike, as for
            `fea data split`; images that are not there are like nothing.
        seed: of the choice between people of the same kind.

    Returns:
        0.

    Raises:
        FEAError: the file cannot be read, the place is taken, somebody is in no published fold, or there are too few people.
    """
    from fea.data.table import open_jsonl
    from fea.errors import FEAError
    from fea.facs import emotion_set
    from fea.records.record import Rules
    from fea.system.files import try_place

    if count < 2:
        raise FEAError(f"count: {count}; give at least 2 folds")
    if not 0 <= distance < 256:
        raise FEAError(f"distance: {distance}; give bits from 0 to 255")
    if out.exists():
        raise FEAError(f"out: '{out}' exists; choose another name, or remove it")
    try_place(out)
    rules = Rules(emotion_set(emotions), "unknown")
    table = open_jsonl(file, image_root or file.parent, rules, "raise")
    examples = [table[number] for number in range(len(table))]
    folds, told = _published(examples, protocol), "published lists"
    notes: list[str] = []
    if folds is None:
        people, notes = _people(examples, distance)
        folds, told = _dealt(examples, people, count, seed), f"people dealt to {count} folds"
    where = _write(out, file, rules, examples, folds)
    print(*_told(out, examples, folds, told), *notes, *where, sep="\n")
    return 0


def _subject(example: Example) -> str:
    import json

    from fea.records.person import person

    said = json.loads(example.meta or "{}")
    return person(said.get("subject")) if isinstance(said, dict) else ""


def _published(examples: list[Example], protocol: str | None) -> NDArray[np.int64] | None:
    """The folds of published lists; None where there are none."""
    import numpy as np

    from fea.datasets.known import dataset_of
    from fea.errors import FEAError
    from fea.protocols.known import protocol_of

    named = protocol_of(protocol) if protocol else None
    known = [named or dataset_of(example.dataset) for example in examples]
    if not all(one and one.folds for one in known):
        if named:
            raise FEAError(f"protocol {named.name} has no published folds; leave --protocol out to have people dealt")
        return None
    folds = [one.fold_of(_subject(example)) if one else None for one, example in zip(known, examples, strict=True)]
    if None in folds:
        first = examples[folds.index(None)]
        raise FEAError(f"{first.place}: '{_subject(first)}' is in none of the published folds; leave that line out")
    return np.array(folds, dtype=np.int64)


def _people(examples: list[Example], distance: int) -> tuple[NDArray[np.int64], list[str]]:
    """The number of the person on each image, the same for people who look alike; and what is to be said of these."""
    import numpy as np

    from fea.data.leaks import hashes_of, tied

    known: dict[object, int] = {}
    people = np.array([known.setdefault(_subject(e) or number, len(known)) for number, e in enumerate(examples)])
    there = np.flatnonzero([Path(example.image).is_file() for example in examples])
    missing = len(examples) - len(there)
    notes = [f"{missing} images are not there: whether they look like others is unknown"] if missing else []
    if not len(there):
        return people, notes
    groups, pairs = tied(hashes_of([examples[number] for number in there]), people[there], distance)
    for group in np.unique(groups):  # with those of their images that are not there
        people[np.isin(people, people[there[groups == group]])] = people[there[groups == group][0]]
    for pair in pairs[:1]:
        first, second = (examples[there[number]].place for number in (pair.first, pair.second))
        notes.append(
            f"{len(pairs)} images look like one of another person, such as {first} and {second}: these people are in one fold"
        )
    return np.unique(people, return_inverse=True)[1], notes


def _dealt(examples: list[Example], people: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    import numpy as np

    from fea.data.folds import dealt

    names = sorted({name for example in examples for name in _labels(example)})
    labels = np.array([[name in _labels(example) for name in names] for example in examples], dtype=np.int64)
    return dealt(people, labels.reshape(len(examples), len(names)), count, seed)


def _labels(example: Example) -> set[str]:
    return {*example.labels, *(f"AU{number}" for number in example.present)}


def _write(out: Path, file: Path, rules: Rules, examples: list[Example], folds: NDArray[np.int64]) -> list[str]:
    """Writes the lines with their folds, without those that mark themselves as invalid; tells where the images are."""
    import os

    from fea.data.source import told_root
    from fea.records.jsonl import read_lines
    from fea.system.files import common_root, whole
    from fea.system.lines import jsonl

    near = out.parent.resolve() == file.parent.resolve()
    root = out.parent.resolve() if near else common_root([example.image for example in examples], out.parent)
    lines = (raw for _, raw, record in read_lines(file, rules) if record is not None)
    with whole(out) as stream:
        for raw, example, fold in zip(lines, examples, folds.tolist(), strict=True):
            meta = {**(raw.get("meta_info") or {}), "fold": fold}
            image = raw["image"] if near else os.path.relpath(Path(example.image).resolve(), root)
            stream.write(jsonl([{**raw, "image": image, "meta_info": meta}]))
    return [told_root(root, {"train": out, "test": out})] if root != out.parent.resolve() else []


def _told(out: Path, examples: list[Example], folds: NDArray[np.int64], how: str) -> list[str]:
    """How many faces and people each fold has, and its share of each label."""
    from fea.reports import tables

    every = sorted(set(folds.tolist()))
    inside = {fold: [e for e, own in zip(examples, folds.tolist(), strict=True) if own == fold] for fold in every}
    rows = [
        ("faces", *(str(len(inside[fold])) for fold in every)),
        ("people", *(str(len({_subject(e) or e.place for e in inside[fold]})) for fold in every)),
    ]
    names = sorted(
        {name for example in examples for name in _labels(example)}, key=lambda n: (n.startswith("AU"), len(n), n)
    )
    rows += [(name, *(str(sum(name in _labels(e) for e in inside[fold])) for fold in every)) for name in names]
    unnamed = sum(not _subject(example) for example in examples)
    notes = [f"{unnamed} lines name no subject in meta_info: each counts as a person of its own"] if unnamed else []
    return [f"{out}: {how}", tables.aligned(("fold", *map(str, every)), rows), *notes]
