"""Conversations about one image, in the style of LLaVA ("from", "value") or of chat templates ("role", "content").

The last answer becomes the description, the question before it the question. The emotion is the one that the answer states;
units that a text mentions were coded by nobody: they stay claims of the description.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fea.datasets.conversion import Dropped, Face, Faces, Format, Source
from fea.datasets.images import NOT_THERE, Images
from fea.datasets.json_files import objects_of
from fea.datasets.reading import shows
from fea.datasets.signs import CONVERSATIONS as SIGN
from fea.prompts.answer import read_emotion


def _recognizes(path: Path) -> bool:
    return path.is_file() and shows(path) == SIGN


def turns_of(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Who speaks, "user" or "assistant", and what is said without the marks of images."""
    return [turn for turn in _turns(record.get("conversations", record.get("messages"))) if turn[1]]


def _turns(value: Any) -> Iterator[tuple[str, str]]:
    for turn in value if isinstance(value, list) else []:
        if isinstance(turn, dict):
            who = str(turn.get("from", turn.get("role", ""))).lower()
            said = turn.get("value", turn.get("content", ""))
            if isinstance(said, list):  # parts, of which some are images
                said = " ".join(str(part.get("text") or "") for part in said if isinstance(part, dict))
            name = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}.get(who, who)
            yield name, str(said or "").replace("<image>", "").strip()


def _faces(source: Source) -> Faces:
    images = Images(source.images)
    for number, record in objects_of(source.path):
        place = f"record {number} of '{source.path}'"
        if not isinstance(record, dict):
            yield Dropped("it is no JSON object", place)
            continue
        named = record.get("image", record.get("images"))
        names = named if isinstance(named, list) else [named]
        if len(names) != 1 or not isinstance(names[0], str):
            yield Dropped("there is not exactly one image", place)
        elif (image := images.find(names[0])) is None:
            yield Dropped(NOT_THERE, f"'{names[0]}', {place}")
        else:
            yield _face(str(record.get("id", number)), image, turns_of(record), source.emotions, place)


def _face(
    name: str, image: str, turns: Sequence[tuple[str, str]], emotions: tuple[str, ...], place: str
) -> Face | Dropped:
    last = max((i for i, (who, _) in enumerate(turns) if who == "assistant"), default=None)
    if last is None:
        return Dropped("nobody answers in it", place)
    text = turns[last][1]
    question = next((said for who, said in reversed(turns[:last]) if who == "user"), "")
    emotion = read_emotion(text, emotions)
    if emotion not in emotions:
        return Dropped("the answer states no emotion, or several", place)
    return Face(name, image, (emotion,), question=question, description=text)


FORMAT = Format("conversations", SIGN.told, _faces, _recognizes)
