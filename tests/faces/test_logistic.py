"""Balanced logistic regression against a general minimizer on the same loss."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from fea.faces.logistic import fit


@pytest.mark.parametrize("rare", [0.5, 0.08])
def test_the_weights_are_those_of_a_general_minimizer(rare: float) -> None:
    chance = np.random.default_rng(3)
    features = chance.random((400, 6)) * (1, 0.2, 3, 0.5, 1, 0.001)  # the last is as good as still
    truth = features @ (2.0, 8.0, -1.0, 0.0, 1.0, 0.0)
    shows = truth + chance.normal(0, 0.5, 400) > np.quantile(truth, 1 - rare)
    spread = features.std(axis=0)
    rows = (features - features.mean(axis=0)) / np.where(spread > 0.01, spread, np.inf)
    share = shows.mean()

    def loss(place: np.ndarray) -> float:
        scores = rows @ place[:-1] + place[-1]
        each = np.where(shows, np.log1p(np.exp(-scores)) / share, np.log1p(np.exp(scores)) / (1 - share))
        return float(each.sum() / 2 + (place[:-1] ** 2).sum() / 2)

    wanted = minimize(loss, np.zeros(7), method="BFGS", options={"gtol": 1e-6}).x
    found = fit(features, shows)
    assert found[5] == 0
    assert found[:5] * spread[:5] == pytest.approx(wanted[:5], abs=1e-4)
    scores = features @ found[:-1] + found[-1]
    assert scores == pytest.approx(rows @ wanted[:-1] + wanted[-1], abs=1e-3)


def test_what_can_be_told_apart_without_error_has_weights_that_end() -> None:
    features = np.linspace(0, 1, 40)[:, None]
    found = fit(features, features[:, 0] > 0.5)
    assert np.isfinite(found).all()
    assert ((features @ found[:1] + found[1] > 0) == (features[:, 0] > 0.5)).all()
