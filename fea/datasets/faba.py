"""FABA-Instruct: texts about faces of AffectNet, Action Units and emotions in files of their own that join by image.

    FABAInstruct/train/train_au_anno.json       conversations; the units are those that the answer claims
    FABAInstruct/train/train_emotion_anno.json  conversations; the emotion is the one that the answer states
    FABAInstruct/eval/eval_au_anno.json         label "1, 2, 4", gpt4: the text
    FABAInstruct/eval/eval_emotion_anno.json    label a number or a word, gpt4: the text
    FABAInstruct/{train,eval}/images/

(Layout and codes: readme and evaluation of EmoLA.) Both texts of a face become one description.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from fea.datasets.conversations import turns_of
from fea.datasets.conversion import Dropped, Face, Faces, Format, Source, codes
from fea.datasets.dataset import Dataset
from fea.datasets.images import NOT_THERE, Images, inside
from fea.datasets.json_files import objects_of
from fea.datasets.reading import named, shows
from fea.datasets.signs import FABA as SIGN
from fea.errors import FEAError
from fea.facs import au_number, emotion_name
from fea.prompts.answer import read_emotion, render
from fea.prompts.mentions import find_mentions
from fea.records.action_units import read_units
from fea.system.workers import spread

FABA = Dataset(
    "faba",
    "annotations; the images are AffectNet's, with its license",
    frozenset({1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 20, 23, 24, 25, 26, 27, 43}),
)
CODES = dict(enumerate(("happiness", "sadness", "surprise", "anger", "neutral", "disgust", "fear")))
_PARTS = {"train": "train", "eval": "test"}  # the part that EmoLA evaluates on is what others call test


class _Said(NamedTuple):
    """What the files say of an image."""

    units: frozenset[int] | None = None
    emotion: str | None = None
    texts: tuple[str, ...] = ()


def _recognizes(path: Path) -> bool:
    if path.is_dir():
        return any(inside(path, f"{part}_{kind}_anno.json") for part in _PARTS for kind in ("au", "emotion"))
    return shows(path) == SIGN


def _faces(source: Source) -> Faces:
    if source.path.is_file():
        part = next((part for part in _PARTS if part in source.path.name), "train")
        yield from _part(part, [source.path], source)
        return
    found = {
        part: [f for kind in ("au", "emotion") if (f := inside(source.path, f"{part}_{kind}_anno.json"))]
        for part in _PARTS
    }
    if not any(found.values()):
        raise FEAError(f"'{source.path}' has no train/train_au_anno.json or the like; give the folder of FABA-Instruct")
    for part, files in found.items():
        yield from _part(part, files, source)


def _part(part: str, files: list[Path], source: Source) -> Faces:
    said: dict[str, _Said] = {}
    for file in files:
        records = list(objects_of(file))
        emotion = "_emotion_" in file.name
        # An emotion is found in less time than it takes to hand a text over.
        read = (map if emotion else spread)(partial(_read, emotion=emotion), [record for _, record in records])
        for (number, record), heard in zip(records, read, strict=True):
            if isinstance(heard, str):
                yield Dropped(heard, f"record {number} of '{file}'")
            else:
                said[record["image"]] = _joined(said.get(record["image"], _Said()), heard)
    folder = inside(source.images, part, 1)
    places = [Images(root) for root in (folder / "images", folder) if root.is_dir()] if folder else []
    places.append(Images(source.images))
    for name, one in said.items():
        image = next((found for images in places if (found := images.find(name))), None)
        if image is None:
            yield Dropped(NOT_THERE, f"'{name}' of {part}")
        elif one.units is None and one.emotion is None:
            yield Dropped("the text states neither units nor one emotion", f"'{name}' of {part}")
        else:
            yield _face(name, image, one, _PARTS[part])


def _read(record: Any, emotion: bool) -> _Said | str:
    """What a record says, or why it says nothing."""
    if not isinstance(record, dict) or not isinstance(record.get("image"), str):
        return "there is not exactly one image"
    text = record.get("gpt4")
    if not isinstance(text, str):
        text = next((said for who, said in reversed(turns_of(record)) if who == "assistant"), "")
    label = record.get("label")
    if emotion:
        word = emotion_name(named(str(label), CODES) or str(label)) if label is not None else None
        stated = word if label is not None else read_emotion(text, tuple(CODES.values()))
        return _Said(emotion=stated if stated in CODES.values() else None, texts=(text,))
    if label is not None:
        try:
            present = read_units(label, "label").present
        except FEAError as error:
            return str(error)
        return _Said(None if present is None else frozenset(map(au_number, present)), None, (text,))
    return _Said(frozenset(mention.number for mention in find_mentions(text) if mention.claimed), None, (text,))


def _joined(first: _Said, second: _Said) -> _Said:
    return _Said(
        second.units if first.units is None else first.units,
        first.emotion or second.emotion,
        first.texts + second.texts,
    )


def _face(name: str, image: str, said: _Said, split: str) -> Face:
    text = " ".join(text.strip() for text in said.texts if text.strip())
    coded = FABA.coded or frozenset()
    return Face(
        f"faba-{split}-{name}",
        image,
        (said.emotion,) if said.emotion else (),
        None if said.units is None else codes(said.units & coded),
        None if said.units is None else codes(coded),
        meta={"split": split},
        description=render(text, said.emotion) if text and said.emotion else "",
    )


FORMAT = Format("faba-instruct", "FABA-Instruct", _faces, _recognizes, "FABA-Instruct")
