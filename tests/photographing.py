"""Fixtures of the tests of the analysis, for `pytest_plugins`: a policy, words for it, and photographs of drawn people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from photographed import CUT, analyzer_of, person, photograph
from PIL import Image

from fea.analysis.analyzer import Analyzer
from fea.data.prompt import Prompt
from fea.model.sampling import Completions
from fea.prompts.answer import parse
from fea.rollouts.rollout import Rollout

Say = Callable[[Prompt, int], str]


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
            said = [(say(prompt, number), prompt) for prompt in prompts for number in range(group)]
            answers = [parse(text, prompt.example.emotions, form=prompt.form) for text, prompt in said]
            none, texts = torch.empty(0), [text for text, _ in said]
            truncated = torch.tensor([text.endswith(CUT) for text in texts], dtype=torch.bool)
            return Rollout(prompts, group, Completions(none, none, none, truncated, texts), answers)

        monkeypatch.setattr("fea.analysis.analyzer.ask", ask)
        return asked

    return speak


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
