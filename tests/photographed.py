"""What the tests of the analysis share: a policy that no run stands behind, photographs of drawn people, and a voice for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import small_config
from PIL import Image

from fea.analysis.analyzer import Analyzer
from fea.data.prompt import Prompt
from fea.drawn.drawing import draw_face
from fea.drawn.people import sample_look
from fea.model.checkpoints import Stored
from fea.model.policy import Policy
from fea.prompts.answer import parse
from fea.rollouts.rollout import Rollout

EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
Say = Callable[[Prompt, int], str]


def analyzer_of(coded: frozenset[int] = frozenset(), **changes: object) -> Analyzer:
    config = small_config(**changes)
    return Analyzer(Policy(config, {}).eval(), Stored(config, EMOTIONS, frozenset({"mine"}), "SFTModule", coded=coded))


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return analyzer_of()


@pytest.fixture
def loaded(analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch) -> Analyzer:
    """The command gets this one, whatever model is named; "owner/model" is none that is looked for on the disk."""
    monkeypatch.setattr("fea.analysis.analyzer.load", lambda *_: analyzer)
    return analyzer


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[[Say], list[list[str]]]:
    """Puts words into the mouth of any policy: of a prompt and the number of the answer. Returns the batches of ids asked."""

    def speak(say: Say) -> list[list[str]]:
        asked: list[list[str]] = []

        def ask(policy: Any, prompts: Sequence[Prompt], group: int, *rest: Any) -> Rollout:
            asked.append([prompt.example.id for prompt in prompts])
            texts = [(say(prompt, number), prompt.example.emotions) for prompt in prompts for number in range(group)]
            none: Any = None
            return Rollout(prompts, group, none, [parse(text, emotions) for text, emotions in texts])

        monkeypatch.setattr("fea.analysis.analyzer.ask", ask)
        return asked

    return speak


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


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of two people, of one, and of nobody, a damaged one, and one that lies on its side as phones store them."""
    folder = tmp_path_factory.mktemp("album")
    large, small = person(1, 240), person(9, 160)
    photograph((small, (30, 200)), (large, (350, 80))).save(folder / "a-two.png")
    photograph((large, (100, 100))).save(folder / "b-one.png")
    photograph().save(folder / "c-nobody.png")
    (folder / "d-damaged.png").write_bytes((folder / "b-one.png").read_bytes()[:300])
    turned = photograph((large, (100, 100))).rotate(90, expand=True)  # a quarter to the left, to be turned to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(folder / "e-turned.jpg", exif=exif, quality=95)
    return folder
