"""The world that faces are drawn from: what shows how often and how clearly, how many people there are, how sure labels are.

Real labels are always skewed: most faces smile or rest, few are afraid, and some units show on one face of a hundred, faintly.
An even world cannot show what training does to what is rare.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from fea.drawn.drawing import DRAWN_AUS
from fea.errors import FEAError
from fea.facs import EMOTION_SETS

EMOTIONS = EMOTION_SETS["basic7"]
# With higher ones units that exclude each other would show together so often that hardly a set of them could be drawn.
_MOST = 100


class Prior(NamedTuple):
    """How often what shows.

    Attributes:
        emotions: probabilities, in the order of `EMOTIONS`.
        units: for each of `DRAWN_AUS` what the odds that it shows are multiplied by, with an emotion that it belongs to and by
            chance alike. So a rare unit keeps its meaning: a factor of 0.1 makes 0.42 of 0.88, and 0.005 of 0.05.
        grades: probabilities of the grades 1 to 5 of a unit that shows.
    """

    emotions: tuple[float, ...]
    units: tuple[float, ...]
    grades: tuple[float, ...]

    @property
    def chances(self) -> tuple[float, ...] | None:
        """The probabilities of emotions for `Generator.choice`; None, for which it takes another way, if all are equal."""
        return None if len(set(self.emotions)) == 1 else self.emotions

    def shows(self, unit: int, rate: float) -> float:
        """The probability that a unit shows.

        Args:
            unit: its FACS number.
            rate: the probability where every unit is as frequent as its emotions.
        """
        odds = rate * self.units[DRAWN_AUS.index(unit)]
        return odds / (odds + (1 - rate))


def _prior(emotions: Mapping[str, float], units: Mapping[int, float], grades: Mapping[int, float]) -> Prior:
    return Prior(_shares(emotions, EMOTIONS), tuple(float(units.get(n, 1)) for n in DRAWN_AUS), _shares(grades, GRADES))


def _shares(weights: Mapping[Any, float], keys: Iterable[Any]) -> tuple[float, ...]:
    total = sum(weights.values())
    return tuple(weights.get(key, 0) / total for key in keys)


GRADES = (1, 2, 3, 4, 5)
_CLEAR = dict(zip(GRADES, (0.12, 0.2, 0.28, 0.24, 0.16), strict=True))  # the extremes are rarer
EVEN = _prior(dict.fromkeys(EMOTIONS, 1), {}, _CLEAR)
# The order of the emotions is that of AffectNet (Mollahosseini et al., 2017; of the faces with one of these, 47 % happiness to
# 1.5 % disgust) and nearly that of RAF-DB (Li et al., 2017; 39 % happiness to 2.3 % fear). As in CK+ and DISFA, every second
# face parts the lips, and one or two of a hundred wrinkle the nose, stretch, press or lower the lips. Of 800 faces the rarest
# emotion and the rarest units have twelve: few, and enough to learn from. Each unit is a trace, so that the drawn faces are
# about as hard to read as photographs are.
SKEWED = _prior(
    {
        "happiness": 0.36, "neutral": 0.30, "sadness": 0.14, "anger": 0.09, "surprise": 0.07, "fear": 0.025, "disgust": 0.015,
    },
    {5: 0.5, 9: 0.15, 15: 0.2, 16: 0.2, 17: 0.5, 20: 0.1, 23: 0.2, 24: 0.2, 25: 8},
    {1: 1.0},
)  # fmt: skip
PRIORS = {"even": EVEN, "skewed": SKEWED}


class World(NamedTuple):
    """What faces are drawn from.

    Attributes:
        prior: how often what shows.
        people: how many there are; 0: every face is that of another person.
        noise: probability that a label is wrong, where it is the rarer one; see `coders.Coder`.
    """

    prior: Prior = EVEN
    people: int = 0
    noise: float = 0.0

    @property
    def name(self) -> str:
        """For folders: different for different worlds, and "" for the plain one."""
        known = {prior: name for name, prior in PRIORS.items()}
        prior = known.get(self.prior, hashlib.sha256(repr(self.prior).encode()).hexdigest()[:12])
        parts = [prior] * (self.prior != EVEN)
        parts += [f"{self.people}-people"] * (self.people > 0) + [f"{self.noise}-noise"] * (self.noise > 0)
        return "".join(f"-{part}" for part in parts)


@dataclass(frozen=True)
class WorldSettings:
    """What faces are drawn from, as settings of a data module; see `fea data faces --help`.

    Args:
        prior: how often emotions and Action Units show: "even", "skewed", or a file.
        people: how many there are in each set, none in two of them; 0: every face is that of another person.
        noise: probability that the rarer of two things that are taken for each other is mislabeled, in training faces alone.
    """

    prior: str = "even"
    people: int = 0
    noise: float = 0.0


def world_of(prior: str, people: int, noise: float) -> World:
    """The world that settings describe.

    Args:
        prior: "even", "skewed", or a JSON or YAML file with "emotions", words and their weights (one that is not named does not
            occur), "units", codes and what the odds of each are multiplied by (1 for those that are not named), and "grades",
            1 to 5 and their weights (one that is not named does not occur).
        people: how many there are; 0: every face is that of another person.
        noise: probability of a wrong label.

    Raises:
        FEAError: one of them cannot be.
    """
    if people < 0:
        raise FEAError(f"people: {people}; give their number, or 0 for another person in every face")
    if not 0 <= noise <= 0.5:
        raise FEAError(f"noise: {noise}; give a probability from 0 to 0.5, with which labels say nothing anymore")
    return World(PRIORS[prior] if prior in PRIORS else _read(Path(prior)), people, noise)


def _read(file: Path) -> Prior:
    if not file.is_file():
        raise FEAError(f"prior: '{file}' is no file, and none of {', '.join(PRIORS)}; check the name")
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))  # which reads JSON, too
    except (yaml.YAMLError, ValueError) as error:
        raise FEAError(f"prior: '{file}' is neither JSON nor YAML: {' '.join(str(error).split())}") from error
    keys = ("emotions", "units", "grades")
    if not isinstance(found, dict) or not found or not set(found) <= set(keys):
        raise FEAError(
            f"prior: '{file}': expected an object with the keys 'emotions', 'units' and 'grades', found {_shown(found)}"
        )
    emotions, units, grades = (_numbers(file, key, found.get(key, {})) for key in keys)
    for word in set(emotions) - set(EMOTIONS):
        raise FEAError(f"prior: '{file}', key 'emotions': unknown emotion {word!r}; there are {', '.join(EMOTIONS)}")
    numbers = {f"AU{n}": n for n in DRAWN_AUS}
    for code, factor in units.items():
        if code not in numbers:
            raise FEAError(
                f"prior: '{file}', key 'units': {code!r} is no unit that is drawn; there are {', '.join(numbers)}"
            )
        if factor > _MOST:
            raise FEAError(f"prior: '{file}', key 'units': {code} is {factor}; give a number from 0 to {_MOST}")
    known = {str(grade): grade for grade in GRADES}
    for grade in set(grades) - set(known):
        raise FEAError(f"prior: '{file}', key 'grades': unknown grade {grade!r}; there are {', '.join(known)}")
    for key, weights in (("emotions", emotions), ("grades", grades)):
        if key in found and not sum(weights.values()) > 0:
            raise FEAError(
                f"prior: '{file}', key '{key}': none of the {key} has a weight above 0; give one to those that occur"
            )
    return _prior(
        emotions or dict.fromkeys(EMOTIONS, 1.0),
        {numbers[code]: factor for code, factor in units.items()},
        {known[grade]: weight for grade, weight in grades.items()} or _CLEAR,
    )


def _numbers(file: Path, key: str, found: Any) -> dict[str, float]:
    if not isinstance(found, dict):
        raise FEAError(f"prior: '{file}', key '{key}': expected names with numbers, found {_shown(found)}")
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise FEAError(f"prior: '{file}', key '{key}': {name} is {_shown(value)}; give a number from 0 up")
    return {str(name): float(value) for name, value in found.items()}


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
