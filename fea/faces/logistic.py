"""Logistic regression for what is rare: both answers weigh the same, however few faces show a unit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]
_PENALTY = 1.0  # of the squares of the weights, half of it a unit: the default of scikit-learn, C = 1
_STILL = 0.01  # of a feature that moves less than this, nothing is learned: some blendshapes never exceed it
_ROUNDS = 100  # of Newton's method, which takes five to ten
_EXACT = 1e-9  # the largest step that counts as none


def fit(features: _Array, shows: NDArray[np.bool_]) -> _Array:
    """The weights and, last, the bias of a balanced logistic regression with an L2 penalty, (features + 1,).

    Minimized is, by Newton's method and over standardized features, sum_i w_i log(1 + exp(-s_i z_i)) + |weights|^2 / 2, where
    s_i is 1 or -1, and w_i gives both answers half of the weight of all faces. The bias is not penalized. The weights that are
    returned are those of the features as they were given.

    Args:
        features: (faces, features).
        shows: which of them have the unit, (faces,): some, and not all.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    moves = spread > _STILL
    scale = np.where(moves, spread, np.inf)  # a still feature becomes zero, and so does its weight
    rows = np.hstack([(features - mean) / scale, np.ones((len(features), 1))])
    signs = np.where(shows, 1.0, -1.0)
    balanced = np.where(shows, 0.5 / shows.mean(), 0.5 / (1 - shows.mean()))
    ridge = _PENALTY * np.append(np.ones(features.shape[1]), 0.0)
    found = np.zeros(rows.shape[1])
    for _ in range(_ROUNDS):
        wrong = _sigmoid(-signs * (rows @ found))  # probability of the other answer
        slope = ridge * found - rows.T @ (balanced * signs * wrong)
        curve = (rows * (balanced * wrong * (1 - wrong))[:, None]).T @ rows + np.diag(ridge)
        step = _downhill(rows, signs, balanced, ridge, found, np.linalg.solve(curve, slope))
        found = found - step
        if np.abs(step).max() < _EXACT:
            break
    weights = found[:-1] / scale
    return np.append(weights, found[-1] - weights @ mean)


def _downhill(rows: _Array, signs: _Array, balanced: _Array, ridge: _Array, found: _Array, step: _Array) -> _Array:
    """Newton's step, halved until it leads down; where it does not, the place is reached."""

    def loss(place: _Array) -> float:
        return float(balanced @ np.logaddexp(0, -signs * (rows @ place)) + ridge @ place**2 / 2)

    here = loss(found)
    while loss(found - step) > here:
        if np.abs(step).max() < _EXACT:
            return np.zeros_like(step)
        step = step / 2
    return step


def _sigmoid(values: _Array) -> _Array:
    positive: _Array = np.exp(-np.logaddexp(0, -values))
    return positive
