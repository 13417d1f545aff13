"""What a task that `fea score --export lmms-eval` wrote does with a face: shows it, asks about it, scores what was answered.

    a line of faces.jsonl  --visual, text, messages-->  a model of lmms-eval  -->  items  --score-->  a number of `fea score`

A line holds texts alone, for the reader of lmms-eval gives every key one type: what is known of the face is JSON within it.
lmms-eval runs `utils.py` once for each function that it takes from it, so what is read is kept here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fea.datasets.json_files import objects_of
from fea.errors import FEAError
from fea.evaluation import texts
from fea.images.opening import load_image
from fea.protocols.cases import case_of_line
from fea.protocols.fitting import Fitted, fitted
from fea.protocols.foreign import Said
from fea.protocols.known import protocol_of
from fea.protocols.reading import cases_of
from fea.protocols.scoring import score

if TYPE_CHECKING:
    from PIL import Image

FACES = "faces.jsonl"  # in the folder of the task
LENIENT = "lenient_"  # begins the names of scores of texts that are read leniently

Line = Mapping[str, str]
# Of the YAML file: image_root, pre_prompt (what the system says) and post_prompt.
Told = Mapping[str, str]


class Task(NamedTuple):
    """A task in its folder.

    Attributes:
        folder: that holds `faces.jsonl`.
        protocol: name of that by which answers are scored.
        emotions: the allowed ones.
    """

    folder: Path
    protocol: str
    emotions: tuple[str, ...]

    def visual(self, line: Line, told: Told) -> list[Image.Image]:
        """The face, RGB and upright.

        Raises:
            FEAError: it cannot be read.
        """
        return [
            load_image(str(self.folder / told["image_root"] / line["image"]), f"{self.folder / FACES}: {line['id']}")
        ]

    def text(self, line: Line, told: Told) -> str:
        """What is asked in one turn, for models that are told no system."""
        return f"{told['pre_prompt']}\n\n{_asked(line, told)}" if told["pre_prompt"] else _asked(line, told)

    def messages(self, line: Line, told: Told) -> list[dict[str, Any]]:
        """What is asked in the turns of a chat: as `fea test` asks, the system first, then the face and the question."""
        shown = [{"type": "image", "url": image} for image in self.visual(line, told)]
        asked = {"role": "user", "content": [*shown, {"type": "text", "text": _asked(line, told)}]}
        system = {"role": "system", "content": [{"type": "text", "text": told["pre_prompt"]}]}
        return [system, asked] if told["pre_prompt"] else [asked]

    def score(self, items: Sequence[Line], name: str) -> float:
        """A score of answers; a face that is not among them was not asked about.

        Args:
            items: "id" of a face and "text" of its answer.
            name: of the score, as `fea score` calls it, with `LENIENT` before it for texts that are read leniently.

        Returns:
            The score; NaN where nothing is known that it could be made of.

        Raises:
            FEAError: texts are to be compared, and the libraries for it are missing.
        """
        bare = name.removeprefix(LENIENT)
        if bare.startswith(("rouge", "rege")) and not texts.available():
            raise FEAError(texts.MISSING)
        said = tuple((item["id"], item["text"]) for item in items)
        return _scores(self, said, lenient=bare != name).get(bare, float("nan"))


def _asked(line: Line, told: Told) -> str:
    return line["question"] + told["post_prompt"]


@lru_cache(maxsize=2)  # every score is asked for by itself, of the same answers: read strictly, and leniently
def _scores(task: Task, said: tuple[tuple[str, str], ...], lenient: bool) -> Mapping[str, float]:
    """The scores of answers, by id of the face and text; of several about one face the first counts."""
    protocol, faces = protocol_of(task.protocol), _faces(task)
    texts_of = dict(reversed(said))
    truths = [truth for truth in faces.truths if truth.example.id in texts_of]
    answers = {
        truth.example.place: Said(truth.example.id, "", truth.example.place, texts_of[truth.example.id])
        for truth in truths
    }
    asked = faces._replace(truths=truths)
    cases, doubtful = cases_of(protocol, asked, answers, lenient)
    return score(cases, protocol, asked, doubtful, lenient, draws=0).scores


@lru_cache(maxsize=8)  # tasks that are measured in one go
def _faces(task: Task) -> Fitted:
    """The faces of the whole file: what macro scores are over does not change with the number that is asked about."""
    file = task.folder / FACES
    lines = ((json.loads(value["known"]), f"{file}:{number}") for number, value in objects_of(file))
    return fitted(
        protocol_of(task.protocol), [case_of_line(known, place, task.emotions).example for known, place in lines]
    )
