"""How far policies are apart: plain sums over the tokens of an optimizer step, however its packs and processes share them."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from fea.rollouts import drift
from fea.rollouts.drift import Drift

# Log-probabilities as sampled, as training computes them, and after some updates; the last token of each row is padding.
MASK = [[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]]
SAMPLED = [[-1.0, -2.0, -0.5, 0.0], [-3.0, -0.1, 0.0, 0.0], [-0.7, -1.2, -2.2, 0.0]]
OLD = [[-1.1, -1.75, -0.5, 9.0], [-3.3, -0.1, 9.0, 9.0], [-0.6, -1.3, -1.6, 9.0]]
NOW = [[-1.4, -1.7, -0.4, 9.0], [-2.8, -0.3, 9.0, 9.0], [-0.9, -1.3, -1.2, 9.0]]


def pack_of(rows: slice, weighs: bool = True) -> tuple[Tensor, Any]:
    """Policy now, and the pack with that before its updates."""
    mask, sampled, old, now = (torch.tensor(table)[rows] for table in (MASK, SAMPLED, OLD, NOW))
    return now, SimpleNamespace(mask=mask, weights=mask / 7 * weighs, sampled_logps=sampled, old=lambda logps: old)


def plain(rows: slice) -> dict[str, float]:
    tokens = [(n, t) for n in range(3)[rows] for t in range(4) if MASK[n][t]]
    ratios = [math.exp(OLD[n][t] - SAMPLED[n][t]) for n, t in tokens]
    moved = [NOW[n][t] - OLD[n][t] for n, t in tokens]
    return {
        "train/sampling_kl": sum(r - math.log(r) - 1 for r in ratios) / len(tokens),
        "train/sampling_outside": sum(not 0.8 <= r <= 1.2 for r in ratios) / len(tokens),
        "train/sampling_ratio_max": max(ratios),
        "train/approx_kl": sum(math.exp(d) - d - 1 for d in moved) / len(tokens),
    }


def told(*packs: tuple[Tensor, Any], several: bool = True) -> dict[str, float]:
    seen = Drift()
    for pack in packs:
        seen.add(*pack)
    return seen.told(several)


def test_the_numbers_equal_plain_python() -> None:
    found = told(pack_of(slice(0, 3)))
    assert found == pytest.approx(plain(slice(0, 3)), rel=1e-5)
    assert found["train/sampling_outside"] == 3 / 8
    assert found["train/sampling_ratio_max"] == pytest.approx(math.exp(0.6))


def test_packs_of_a_step_count_by_their_tokens_and_a_stand_in_not_at_all() -> None:
    packs = pack_of(slice(2, 3)), pack_of(slice(1, 2), weighs=False), pack_of(slice(0, 1))
    together = told(pack_of(slice(0, 3, 2)))
    assert told(*packs) == pytest.approx(together, rel=1e-5)
    assert together == pytest.approx(plain(slice(0, 3, 2)), rel=1e-5)
    assert told(packs[1]) == {}


def test_each_step_begins_anew_and_one_update_a_rollout_moves_from_nothing() -> None:
    seen = Drift()
    seen.add(*pack_of(slice(2, 3)))
    seen.told(several=True)
    seen.add(*pack_of(slice(0, 1)))
    expected = plain(slice(0, 1))
    del expected["train/approx_kl"]
    assert seen.told(several=False) == pytest.approx(expected, rel=1e-5)


def test_two_processes_tell_the_numbers_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Drift()
    seen.add(*pack_of(slice(1, 3)))
    others: list[list[float]] = []
    monkeypatch.setattr(drift, "gathered", lambda own: others.append(own) or [own])
    seen.told(several=True)
    monkeypatch.setattr(drift, "gathered", lambda own: [own, *others])
    assert told(pack_of(slice(0, 1))) == pytest.approx(plain(slice(0, 3)), rel=1e-5)


def test_an_absurd_sampler_is_told_and_not_a_crash() -> None:
    now, pack = pack_of(slice(0, 3))
    pack.sampled_logps[0, 0] = -math.inf
    found = told((now, pack))
    assert found["train/sampling_ratio_max"] == pytest.approx(math.exp(20))
    assert math.isfinite(found["train/sampling_kl"])
    pack.sampled_logps[0, 0] = math.nan
    assert math.isnan(told((now, pack))["train/sampling_kl"])
