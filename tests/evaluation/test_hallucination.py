"""CHAIR of Action Units and the deletion flip rate, against counts by hand; and the metric of pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fea.data.example import Example
from fea.evaluation.hallucination import count_flips, count_invented, deletions, share, shares
from fea.evaluation.intervals import share_difference
from fea.evaluation.preferences import InventedScores, PairScores
from fea.prompts.answer import Answer, parse, render

NAN = float("nan")


def said(*units: int) -> Answer:
    return parse(render(" ".join(f"Here (AU{unit})." for unit in units) or "At rest.", "neutral"))


@pytest.fixture
def faces(examples: list[Example]) -> list[Example]:
    """Of AU4 and AU12, both coded, one shows; of the last face nothing is known."""
    coded = frozenset({4, 7, 12})
    shown = [frozenset({"AU12"}), frozenset({"AU4", "AU12"}), None]
    return [
        face._replace(aus=aus, coded=coded if aus else frozenset())
        for face, aus in zip(examples[:3], shown, strict=True)
    ]


def test_what_is_invented_is_counted_over_coded_units(faces: list[Example]) -> None:
    counts = count_invented(faces, [[said(12, 4, 9), said()], [said(4)], [said(4)]])  # nobody looked for AU9
    assert counts["au_chair_i"].tolist() == [[1, 2], [0, 1], [0, 0]]
    assert counts["au_chair_s"].tolist() == [[1, 2], [0, 1], [0, 0]]
    assert counts["coverage"].tolist() == [[1, 2], [1, 2], [0, 0]]
    assert shares(counts) == pytest.approx({"au_chair_i": 1 / 3, "au_chair_s": 1 / 3, "coverage": 0.5})
    assert shares({"nothing": np.zeros((3, 2))}) == {}
    metric = InventedScores()
    metric.update([said(12, 4, 9), said(4), said(4)], faces)
    found = {name: float(value) for name, value in metric.compute().items()}
    assert found == pytest.approx({"au_chair_i": 1 / 3, "au_chair_s": 0.5, "coverage": 2 / 3})


def test_a_face_is_drawn_without_each_unit_that_is_claimed_rightly(examples: list[Example]) -> None:
    shown = [sorted(example.present - {25}) for example in examples[:4]]
    answers = [said(*units[:2], min(e.coded - e.present)) for e, units in zip(examples, shown, strict=False)]
    deleted = deletions(examples[:4], answers)
    assert {(one.face, one.unit) for one in deleted} == {
        (face, unit) for face, units in enumerate(shown) for unit in units[:2]
    }
    names = [one.example.image for one in deleted]
    assert len(set(names)) == len(names)  # pictures of one name are seen once
    for one in deleted:
        assert one.example.present == examples[one.face].present - {one.unit}
    kept = [said(one.unit) if number % 2 else said() for number, one in enumerate(deleted)]
    flips = count_flips(deleted, kept, 4)
    assert flips.sum(axis=0).tolist() == [len(deleted) - len(deleted) // 2, len(deleted)]
    assert share(flips) == pytest.approx((len(deleted) - len(deleted) // 2) / len(deleted))


def test_a_difference_of_shares_has_an_interval_around_it() -> None:
    rng = np.random.default_rng(0)
    before = np.stack([rng.binomial(4, 0.6, 500), np.full(500, 4)], axis=1).astype(float)
    after = np.stack([rng.binomial(4, 0.4, 500), np.full(500, 4)], axis=1).astype(float)
    found = share_difference(after, before)
    assert found.mean == pytest.approx(share(after) - share(before))
    assert -0.25 < found.low < found.mean < found.high < -0.1
    assert share_difference(before, before) == (0, 0, 0)


def test_preferences_are_counted_over_the_pairs_that_have_them() -> None:
    metric = PairScores(("response", "image"))
    for margins, chosen, seen in (([1.0, -1.0, NAN], [0.5, 0.1, 0.0], [2.0, NAN, 1.0]), ([3.0], [-1.0], [NAN])):
        rows = {"response": torch.tensor(margins), "image": torch.full((len(margins),), NAN)}
        metric.update(rows, torch.tensor(chosen), torch.tensor(seen))
    found = {name: float(value) for name, value in metric.compute().items()}
    assert found == pytest.approx(
        {"response_accuracy": 2 / 3, "response_margin": 1.0, "drift": -0.1, "image_sensitivity": 1.0}
    )
