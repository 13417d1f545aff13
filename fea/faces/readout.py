"""A readout: for each Action Unit a weight for every blendshape and a bias, learned from faces that people coded.

    {"kind": "fea blendshape readout", "version": 1, "faces": 981, "people": 118,
     "units": {"AU1": {"with": 176, "without": 805, "f1": 0.81, "bias": -1.2, "weights": {"browInnerUp": 4.1, ...}}, ...}}

A unit shows where bias + sum of weight * blendshape is above 0. The F1 is that on people whom weights were not learned from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fea.errors import FEAError
from fea.faces.blendshapes import NAMES, Shapes
from fea.facs import au_code, au_number
from fea.system.files import write_atomically

SOURCE = "blendshape-readout"
_KIND, _VERSION = "fea blendshape readout", 1
_DIGITS = 5  # that count of a weight: more would differ from one processor to the next


class Learned(NamedTuple):
    """What was learned of a unit.

    Attributes:
        weights: of the blendshapes, and the bias last, (53,).
        shows: faces that have it.
        lacks: faces that were coded and do not have it.
        f1: of the readout on people that it was not learned from.
        rule: of the rule of the unit on the same faces; None for a unit without a rule.
    """

    weights: NDArray[np.float64]
    shows: int
    lacks: int
    f1: float
    rule: float | None = None


class Readout:
    """Reads units by learned weights.

    Args:
        file: that `write_readout` wrote.

    Raises:
        FEAError: it is not there, or another file.
    """

    def __init__(self, file: Path):
        if not file.is_file():
            raise FEAError(f"readout: '{file}' does not exist; make one with `fea data silver --fit`")
        content = file.read_bytes()
        try:
            self.weights = _weights(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise FEAError(f"readout: '{file}' is no readout; make one with `fea data silver --fit`") from None
        self.units = tuple(self.weights)
        self.meta: Mapping[str, Any] = {"source": SOURCE, "readout": hashlib.sha256(content).hexdigest()[:12]}

    def shown(self, face: Shapes) -> tuple[str, ...]:
        """Codes of the units that show in a face of which the blendshapes, (52,), are given."""
        return tuple(unit for unit, weights in self.weights.items() if face @ weights[:-1] + weights[-1] > 0)


def _weights(found: Any) -> dict[str, NDArray[np.float64]]:
    if found["kind"] != _KIND or found["version"] != _VERSION or not found["units"]:
        raise ValueError
    weights = {}
    for unit, learned in found["units"].items():
        if au_code(unit) != unit or not learned["weights"].keys() <= set(NAMES):
            raise ValueError
        row = [*(learned["weights"].get(name, 0.0) for name in NAMES), learned["bias"]]
        weights[unit] = np.array(row, np.float64)
        if not np.isfinite(weights[unit]).all():
            raise ValueError
    return weights


def rounded(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights as they are written."""
    return np.array([float(f"{weight:.{_DIGITS}g}") for weight in weights])


def write_readout(file: Path, learned: Mapping[str, Learned], faces: int, people: int) -> None:
    """Writes a readout, whole or not at all; a unit a line.

    Args:
        file: to be written.
        learned: by the code of the unit.
        faces: that it was learned from.
        people: that these show.
    """
    head = {"kind": _KIND, "version": _VERSION, "faces": faces, "people": people}
    units = (f"  {json.dumps(unit)}: {json.dumps(_told(learned[unit]))}" for unit in sorted(learned, key=au_number))
    text = f"{json.dumps(head)[:-1]}, " + '"units": {\n' + ",\n".join(units) + "\n}}\n"
    write_atomically(file, text.encode())


def _told(unit: Learned) -> dict[str, Any]:
    *weights, bias = (float(weight) for weight in rounded(unit.weights))
    named = {name: weight for name, weight in zip(NAMES, weights, strict=True) if weight}
    return {"with": unit.shows, "without": unit.lacks, "f1": round(unit.f1, 3), "bias": bias, "weights": named}
