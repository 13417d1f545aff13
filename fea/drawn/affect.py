"""Valence and arousal of drawn faces: true by construction, since a formula makes them of the emotion and of the grades.

    k = 0.1 + 0.9 * (mean grade - 1) / 4       of the units that show; 0.1 where none does
    valence, arousal = k * position of the emotion

Positions are the mean ratings of pleasure and arousal of the words in Russell & Mehrabian (1977), "Evidence for a
three-factor theory of emotions", Journal of Research in Personality 11, 273-294. That a face which moves more lies farther
from the middle of the circumplex (Russell, 1980) is what the factor says; its numbers are ours. So the emotion alone does
not give the numbers away: how strongly the face moves has to be seen, too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fea.prompts.numbers import Number

POSITIONS: dict[str, tuple[float, float]] = {
    "anger": (-0.51, 0.59),
    "disgust": (-0.60, 0.35),
    "fear": (-0.64, 0.60),
    "happiness": (0.81, 0.51),
    "neutral": (0.0, 0.0),
    "sadness": (-0.63, -0.27),
    "surprise": (0.40, 0.67),
}
_REST, _MOVED = 0.1, 0.9
_USUAL = 3  # grade that an annotator has in mind who does not look how strongly a unit shows


def affect_of(emotion: str, grades: Mapping[int, int]) -> dict[Number, float]:
    """Valence and arousal, with two decimals.

    Args:
        emotion: of the face.
        grades: unit number to grade, 1 to 5.
    """
    strength = _REST + _MOVED * ((sum(grades.values()) / len(grades) - 1) / 4 if grades else 0.0)
    valence, arousal = (round(strength * part, 2) + 0.0 for part in POSITIONS[emotion])
    return {"valence": valence, "arousal": arousal}


def usual_affect(emotion: str) -> dict[Number, float]:
    """What an annotator writes who thinks of the emotion in full, and does not look how strongly it shows."""
    valence, arousal = POSITIONS[emotion]
    return {"valence": valence, "arousal": arousal}


def usual_grades(units: Mapping[int, int], rng: np.random.Generator) -> dict[int, int]:
    """What such an annotator writes of grades: half of the way to the usual one; if between two, either by chance.

    Args:
        units: unit number to true grade; 0 for one that is not there.
        rng: source of chance.
    """
    return {n: max(1, int((grade + _USUAL + int(rng.random() < 0.5)) // 2)) for n, grade in units.items()}
