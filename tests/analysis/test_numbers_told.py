"""Valence, arousal and grades in results: as tables, records, pictures, of a server, and behind likelihoods."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from answering import Scripted, as_base64
from PIL import Image

from fea.analysis.album import told_of
from fea.analysis.analyzer import Analyzer
from fea.analysis.layout import to_csv
from fea.data.example import Example
from fea.drawn.faces import EMOTIONS
from fea.export.folder import settings
from fea.model.checkpoints import Stored
from fea.model.config import Numbered
from fea.model.elsewhere import described
from fea.model.policy import Policy
from fea.prompts.numbers import NUMBERS
from fea.prompts.prompt import system_prompt
from fea.rollouts.likelihood import completion
from fea.serving.asking import Asker, told
from fea.serving.fields import Fields
from fea.serving.service import Service

SAID = "<think>Cheeks up (AU6B), a smile (AU12).</think><answer>happiness; valence 0.7; arousal 7</answer>"


@pytest.fixture
def policy(make_policy: Callable[..., Policy]) -> Policy:
    return make_policy(answer=Numbered())


def trained(policy: Policy) -> Stored:
    return Stored(policy.config, EMOTIONS, frozenset({"mine"}), "SFTModule", coded=frozenset({4, 6, 12}))


def test_results_tell_what_can_be_read(policy: Policy, examples: list[Example]) -> None:
    scripted: Any = Scripted(policy, lambda prompt: SAID)
    scripted.config = policy.config
    results = Analyzer(scripted, trained(policy)).analyze([examples[0].image])
    (result,) = results
    assert (result.valence, result.arousal, result.intensities, result.valid) == (0.7, None, {"AU6": 2.0}, False)
    record = results.layout.record(result)
    assert (record["valence"], record["arousal"], record["intensities"]) == (0.7, None, {"AU6": 2.0})
    row = results.to_frame().iloc[0]
    assert row["valence"] == 0.7
    assert [str(row[name]) for name in ("arousal", "intensity_AU4", "intensity_AU6", "intensity_AU12")] == [
        "nan", "0.0", "2.0", "nan",
    ]  # fmt: skip
    assert (
        to_csv(results, layout=results.layout)
        .splitlines()[0]
        .endswith("valence,arousal,intensity_AU4,intensity_AU6,intensity_AU12")
    )
    assert told_of(result, Image.new("RGB", (8, 8))).numbers == "valence 0.7"
    unread: Any = Scripted(policy, lambda prompt: "<think>The cheeks")
    unread.config = policy.config
    row = Analyzer(unread, trained(policy)).analyze([examples[0].image]).to_frame().iloc[0]
    assert (
        row[["intensity_AU4", "intensity_AU6", "intensity_AU12"]].isna().all()
    )  # nobody has said that they are absent
    quick = Analyzer(scripted, trained(policy)).analyze([examples[0].image], answer="only")
    assert "intensities" not in quick.layout.record(quick[0])
    assert "valence" in quick.layout.header


def test_nothing_changes_where_nobody_asks(make_policy: Callable[..., Policy], examples: list[Example]) -> None:
    policy = make_policy()
    scripted: Any = Scripted(policy, lambda prompt: SAID)
    scripted.config = policy.config
    results = Analyzer(scripted, trained(policy)).analyze([examples[0].image])
    assert not {"valence", "arousal", "intensities"} & results.layout.record(results[0]).keys()
    assert results.layout.header == ("image", "AUs", "emotion", "reasoning", "valid", "text", "error")


def test_a_server_tells_them_too(policy: Policy, examples: list[Example]) -> None:
    scripted: Any = Scripted(policy, lambda prompt: SAID)
    asker, service = Asker(policy.encoder, EMOTIONS, 200), Service(scripted, "32-true", 8, lambda: None)
    with closing(service), Image.open(examples[0].image) as image:
        fields = Fields({"image": as_base64(image)}, ("image",))
        (face,) = asker.look(fields, "image", asker.question(Fields({}, ())))
        record = told(face, service.order(face.order).said(), False)
    assert (record["valence"], record["arousal"], record["intensities"]) == (0.7, None, {"AU6": 2.0})
    json.dumps(record)


def test_an_export_says_what_is_asked_for(policy: Policy, tmp_path: Path) -> None:
    import torch

    found = settings(trained(policy))
    assert (found["answer"], found["numbers"]) == ("after_thinking", list(NUMBERS))
    assert found["system"] == system_prompt("brief", "after_thinking", NUMBERS)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "fea.json").write_text(json.dumps(found))
    assert described(str(tmp_path), torch.device("cpu")).policy.numbers == NUMBERS


def test_likelihoods_are_of_the_word_before_the_numbers(policy: Policy) -> None:
    ids = completion(policy, "<think>A smile.</think>", "fear", "after_thinking", NUMBERS)
    assert policy.network.tokenizer.decode(ids) == "<think>A smile.</think><answer>fear; valence"
