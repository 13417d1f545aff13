"""What the tests of the analysis are about: drawn people, photographs of them, and a policy that no run stands behind."""

from __future__ import annotations

import numpy as np
from conftest import small_config
from PIL import Image

from fea.analysis.analyzer import Analyzer
from fea.drawn.drawing import draw_face
from fea.drawn.people import sample_look
from fea.model.checkpoints import Stored
from fea.model.policy import Policy

EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
CUT = "..."  # ends an answer that reached the length limit, where a test puts words into a mouth


def analyzer_of(coded: frozenset[int] = frozenset(), **changes: object) -> Analyzer:
    config = small_config(**changes)
    return Analyzer(Policy(config, {}).eval(), Stored(config, EMOTIONS, frozenset({"mine"}), "SFTModule", coded=coded))


def person(number: int, size: int, **grades: int) -> Image.Image:
    """A drawn person; `AU12=4` is a smile."""
    look = sample_look(np.random.default_rng(number))
    return draw_face({int(name.removeprefix("AU")): grade for name, grade in grades.items()}, look, size)


def photograph(*people: tuple[Image.Image, tuple[int, int]], size: tuple[int, int] = (640, 400)) -> Image.Image:
    """Drawn people in a gray room."""
    room = Image.new("RGB", size, (200, 205, 208))
    for picture, place in people:
        room.paste(picture, place)
    return room
