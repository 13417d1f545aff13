"""Intensities, valence and arousal: agreement of numbers, from sums that are pooled over faces, people and folds like counts.

x is what was told, y the truth, of n faces. With s the sums over n - 1 and v those over n:

    PCC       s_xy / sqrt(s_xx s_yy)                                        Pearson
    ICC(3,1)  2 s_xy / (s_xx + s_yy)                                        Shrout & Fleiss (1979), two raters
    CCC       2 v_xy / (v_xx + v_yy + (mean x - mean y)^2)                  Lin (1989)
    MAE       sum |x - y| / n
    MSE       sum (x - y)^2 / n, of which RMSE is the root
    SAGR      share of pairs with the same sign, 0 being a sign of its own    Nicolaou, Gunes & Pantic (2011)

ICC(3,1) of k raters is (MSR - MSE) / (MSR + (k - 1) MSE), of which the line above is what two raters make.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fea.evaluation.counts import Floats


class Moments(NamedTuple):
    """Sums over pairs of numbers.

    Attributes:
        n: (...) pairs.
        x: of what was told.
        y: of the truth.
        xx: of squares.
        yy: likewise.
        xy: of products.
        apart: of absolute differences.
        agree: pairs with the same sign.
    """

    n: Floats
    x: Floats
    y: Floats
    xx: Floats
    yy: Floats
    xy: Floats
    apart: Floats
    agree: Floats


def moments(told: Floats, truth: Floats) -> Moments:
    """Sums of single pairs.

    Args:
        told: (...) numbers, NaN for none.
        truth: (...) numbers, NaN for unknown; a pair with a NaN counts for nothing.
    """
    known = ~(np.isnan(told) | np.isnan(truth))
    x, y = np.where(known, told, 0.0), np.where(known, truth, 0.0)
    same = (known & (np.sign(x) == np.sign(y))).astype(np.float64)
    return Moments(known.astype(np.float64), x, y, x * x, y * y, x * y, np.abs(x - y), same)


def pcc(sums: Moments) -> Floats:
    """Pearson's correlation; 0 if the told numbers never change, NaN if the true ones do not."""
    xx, yy, xy = _spread(sums)
    return _ratio(xy, np.sqrt(xx * yy), yy > 0)


def icc(sums: Moments) -> Floats:
    """ICC(3,1), consistency of two raters; NaN if the true numbers never change."""
    xx, yy, xy = _spread(sums)
    return _ratio(2 * xy, xx + yy, yy > 0)


def ccc(sums: Moments) -> Floats:
    """Lin's concordance, with sums over n; NaN if the true numbers never change."""
    xx, yy, xy = _spread(sums)
    between = (sums.x - sums.y) ** 2 / np.maximum(sums.n, 1)
    return _ratio(2 * xy, xx + yy + between, yy > 0)


def mae(sums: Moments) -> Floats:
    """Mean absolute difference; NaN without a pair."""
    return _ratio(sums.apart, sums.n, sums.n > 0)


def mse(sums: Moments) -> Floats:
    """Mean squared difference; NaN without a pair."""
    return _ratio(np.maximum(sums.xx + sums.yy - 2 * sums.xy, 0.0), sums.n, sums.n > 0)


def rmse(sums: Moments) -> Floats:
    """Its root."""
    return np.asarray(np.sqrt(mse(sums)))


def sagr(sums: Moments) -> Floats:
    """Sign agreement; NaN without a pair."""
    return _ratio(sums.agree, sums.n, sums.n > 0)


def left_out(sums: Moments, rows: Moments, inside: bool) -> Floats:
    """What each answer adds to CCC, times the number of answers, so that it does not shrink with their number.

        n * (CCC of the answers with it - CCC of those without it)

    Args:
        sums: (K,) over many answers, each about K things.
        rows: (N, K) of N answers, each by itself.
        inside: whether these are among the many; else each is what would be added to them.

    Returns:
        (N, K); 0 where the truth of either set never changes.
    """
    other = Moments(*(whole - part if inside else whole + part for whole, part in zip(sums, rows, strict=True)))
    whole = Moments(*(np.broadcast_to(part, rows.n.shape) for part in sums))
    after, before = (whole, other) if inside else (other, whole)
    return np.asarray(np.nan_to_num(after.n * (ccc(after) - ccc(before))))


def crps(told: Floats, truth: float) -> float:
    """Continuous ranked probability score of draws from a distribution, in its fair form (Ferro, 2014); 0 without any.

        mean |x_i - y| - sum over pairs of |x_i - x_j| / (G (G - 1))

    Args:
        told: (G,) draws.
        truth: y.
    """
    count = len(told)
    pairs = np.abs(told[:, None] - told).sum() / 2
    return float(np.abs(told - truth).mean() - pairs / (count * max(count - 1, 1))) if count else 0.0


def crps_left_out(told: Floats, truth: float) -> Floats:
    """(G,) what each draw adds to the score, with the other sign, and times the number of the others, 1 at least."""
    every = crps(told, truth)
    others = [crps(np.delete(told, i), truth) for i in range(len(told))]
    return (np.array(others) - every) * max(len(told) - 1, 1)


def _spread(sums: Moments) -> tuple[Floats, Floats, Floats]:
    """Sums of squares and products about the means; what rounding leaves of a constant is none."""
    n = np.maximum(sums.n, 1)
    parts = [(sums.xx, sums.x * sums.x / n), (sums.yy, sums.y * sums.y / n), (sums.xy, sums.x * sums.y / n)]
    xx, yy, xy = (whole - mean for whole, mean in parts)
    # 1e-12 of the raw sum is what subtracting two equal doubles may leave, and far below any real spread of grades.
    xx, yy = (
        np.where(about > 1e-12 * np.abs(raw), about, 0.0) for about, (raw, _) in zip((xx, yy), parts, strict=False)
    )
    return xx, yy, np.where((xx > 0) & (yy > 0), xy, 0.0)


def _ratio(part: Floats, whole: Floats, known: NDArray[np.bool_]) -> Floats:
    return np.where(known, part / np.where(whole > 0, whole, 1.0), np.nan)
