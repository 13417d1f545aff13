"""FEA-20K: the published lines, brought to one spelling and checked, without those whose image is not there.

They come without images, which are those of the data sets that they were made from. Names of emotions become nouns in lower
case, codes lose their zeros; descriptions stay as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fea.datasets.conversion import Dropped, Face, Faces, Format, Source, by_number
from fea.datasets.dataset import Dataset
from fea.datasets.images import NOT_THERE, Images
from fea.datasets.json_files import objects_of
from fea.datasets.reading import lines_of
from fea.errors import FEAError
from fea.records.missing import unknown
from fea.records.record import Record, Rules, given_labels, read_record

FEA20K = Dataset("fea-20k", "annotations; the images are those of their sources")


def _recognizes(path: Path) -> bool:
    if not path.is_file() or path.suffix.lower() not in (".json", ".jsonl"):
        return False
    try:
        head = "".join(line for line, _ in zip(lines_of(path), range(40), strict=False))  # of a list over many lines
    except FEAError:
        return False
    return '"image"' in head and any(f'"{key}"' in head for key in ("AUs", "labels"))


def _faces(source: Source) -> Faces:
    images = Images(source.images)
    rules = Rules(source.emotions, "unknown", wrap=False)
    for number, raw in objects_of(source.path):
        place = f"line {number} of '{source.path}'"
        named = raw.get("image") if isinstance(raw, dict) else None
        name = named[0] if isinstance(named, list) and len(named) == 1 else named
        if not isinstance(name, str):
            yield Dropped("there is not exactly one image", place)
            continue
        image = images.find(name)
        try:
            # The place of the image is judged here: a full path of another machine is as good as any.
            record = read_record({**raw, "image": "face.jpg"}, number, rules)
        except FEAError as error:
            yield Dropped(str(error), place)
            continue
        if record is None:
            yield Dropped("the line marks itself as invalid", place)
        elif image is None:
            yield Dropped(NOT_THERE, f"'{name}', {place}")
        else:
            yield _face(record, raw, image, place, source)


def _face(record: Record, raw: dict[str, Any], image: str, place: str, source: Source) -> Face:
    foreign = [word for word in given_labels(raw) if not unknown(word)] if not record.labels else []
    if foreign:
        source.note(f"labels that are none of the emotions count as unknown, such as '{foreign[0]}' in {place}")
    return Face(
        record.id,
        image,
        tuple(record.labels),
        None if record.AUs is None else by_number(record.AUs),
        None if record.AUs_coded is None else by_number(record.AUs_coded),
        json.loads(record.AU_intensities),
        record.valence,
        record.arousal,
        raw["meta_info"] if isinstance(raw.get("meta_info"), dict) else {},
        record.question,
        record.analysis or "",
        record.dataset,
    )


FORMAT = Format("fea20k", "FEA-20K", _faces, _recognizes, "FEA-20K")
