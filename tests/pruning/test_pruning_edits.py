"""x~: as many tokens, other codes, other signs; and the drawn face without a unit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fea.data.example import Example
from fea.data.table import open_jsonl
from fea.drawn.faces import sample_expression
from fea.drawn.world import EMOTIONS, SKEWED
from fea.facs import ACTION_UNITS
from fea.model.policy import Policy
from fea.pruning.calibration import chosen
from fea.pruning.edits import edited
from fea.records.record import Rules


def codes(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"AU(\d+)", text)]


def test_an_edited_text_has_as_many_tokens_and_names_other_units(
    make_policy: Callable[..., Policy], examples: list[Example]
) -> None:
    encoder = make_policy().encoder
    for number, example in enumerate(examples[:8]):
        text = str(example.analysis)
        other = edited(text, lambda some: len(encoder.target(some)), np.random.default_rng(number))
        assert len(encoder.target(other)) == len(encoder.target(text))
        assert len(codes(other)) == len(codes(text))
        assert not {*codes(other)} & {*codes(text)}
        assert {*codes(other)} <= {*ACTION_UNITS}
        assert re.findall("<[^<>]*>", other) == re.findall("<[^<>]*>", text)


def test_with_each_code_a_word_of_its_sign_is_edited() -> None:
    text = "<think>The cheeks are raised (AU6). Lips tight (AU23). Nothing else here.</think><answer>anger</answer>"
    for seed in range(20):
        other = edited(text, len, np.random.default_rng(seed))  # in letters, of which there are enough
        signs = [clause.rpartition("(")[0] for clause in text.split(".")[:2]]
        assert all(
            before != after
            for before, after in zip(signs, (c.rpartition("(")[0] for c in other.split(".")), strict=False)
        )


def test_edits_are_those_of_the_seed() -> None:
    text = "Brows together (AU4), and the lids are tight (AU7)."
    again = [edited(text, len, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


def test_a_text_without_room_stays_as_it_is() -> None:
    assert edited("<think></think>", len, np.random.default_rng(0)) == "<think></think>"


def test_calibration_faces_have_the_shares_of_their_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [sample_expression(rng, SKEWED) for _ in range(400)]
    file = tmp_path / "faces.jsonl"
    known = [{"AUs": [f"AU{n}" for n in line.grades], "labels": [line.emotion]} for line in lines]
    texts = (json.dumps({"id": str(n), "dataset": "x", "image": "x.png", **told}) for n, told in enumerate(known))
    file.write_text("\n".join(texts))
    table = open_jsonl(file, tmp_path, Rules(EMOTIONS, "raise", True), "raise")
    some = chosen(table, 100, 0)
    assert len(some) == 100
    assert [e.id for e in some] == [e.id for e in chosen(table, 100, 0)] != [e.id for e in chosen(table, 100, 1)]
    for word in EMOTIONS:
        whole, part = (
            sum(word in e.labels for e in faces) / len(faces) for faces in ([table[n] for n in range(400)], some)
        )
        assert abs(part - whole) <= 0.02
    assert len(chosen(table, 1000, 0)) == 400
