"""Units by rules: each at its threshold, on the movements that its sentence names."""

from __future__ import annotations

import numpy as np
import pytest

from fea.faces.blendshapes import NAMES, movement
from fea.faces.rules import RULES, ByRule, told


def face(**values: float) -> np.ndarray:
    return np.array([values.get(name, 0.0) for name in NAMES])


def test_two_sides_are_their_mean() -> None:
    shapes = face(mouthSmileLeft=0.2, mouthSmileRight=0.6, jawOpen=0.3)[None]
    assert movement(shapes, "mouthSmile").tolist() == pytest.approx([0.4])
    assert movement(shapes, "jawOpen").tolist() == [0.3]


# The table was written down apart from the code: movements that are just above, and just below.
@pytest.mark.parametrize(
    ("unit", "above", "below"),
    [
        ("AU1", {"browInnerUp": 0.11}, {"browInnerUp": 0.1}),
        ("AU2", {"browOuterUpLeft": 0.3, "browOuterUpRight": 0.12}, {"browOuterUpLeft": 0.3}),
        ("AU4", {"browDownLeft": 0.25, "browDownRight": 0.16}, {"browDownLeft": 0.2, "browDownRight": 0.2}),
        ("AU5", {"eyeWideLeft": 0.04, "eyeWideRight": 0.03}, {"eyeWideLeft": 0.05}),
        (
            "AU6",
            {"eyeSquintLeft": 0.6, "eyeSquintRight": 0.6, "mouthSmileLeft": 0.6, "mouthSmileRight": 0.6},
            {"eyeSquintLeft": 0.5, "eyeSquintRight": 0.5, "mouthSmileLeft": 0.6, "mouthSmileRight": 0.6},
        ),
        ("AU12", {"mouthSmileLeft": 1.0, "mouthSmileRight": 0.1}, {"mouthSmileLeft": 0.9}),
        ("AU17", {"mouthShrugLower": 0.031}, {"mouthShrugLower": 0.03, "mouthShrugUpper": 1.0}),
        ("AU20", {"mouthStretchLeft": 0.4, "mouthStretchRight": 0.21}, {"mouthStretchLeft": 0.6}),
        ("AU25", {"mouthLowerDownLeft": 0.2, "mouthLowerDownRight": 0.1}, {"jawOpen": 0.1, "mouthLowerDownLeft": 0.1}),
        ("AU25", {"jawOpen": 0.11}, {}),
        ("AU27", {"jawOpen": 0.31}, {"jawOpen": 0.3}),
    ],
)
def test_a_unit_shows_above_its_threshold(unit: str, above: dict[str, float], below: dict[str, float]) -> None:
    assert unit in ByRule().shown(face(**above))
    assert unit not in ByRule().shown(face(**below))


def test_ten_units_have_a_rule_and_a_still_face_shows_none() -> None:
    assert ByRule.units == tuple(f"AU{n}" for n in (1, 2, 4, 5, 6, 12, 17, 20, 25, 27))
    assert ByRule().shown(face()) == ()
    assert ByRule.meta["source"] == "blendshape-rule"
    assert ByRule.meta["thresholds"] == {unit: rule.above for unit, rule in RULES.items()}
    assert told()[4] == "AU6 shows where eyeSquint + mouthSmile > 1.15"
