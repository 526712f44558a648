"""How likely a time exceeds a length where only its first three cumulants are known.

A shifted gamma distribution (Pearson's type III) has the right mean, variance and skewness of sums of many times, and a
shifted lognormal one as well. They differ far out, so how much of a third cumulant is of times with the tail of a
lognormal adds up along a sum, too, and says where between the two a sum's tail is.
Source: K. Pearson, Contributions to the mathematical theory of evolution, II, 1895.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from simulator.arrays import Floats
from simulator.compiled import inlined

_SKEWS, _LARGEST_SKEW = 49, 12.0
_PLACES, _LOWEST, _HIGHEST = 513, -4.0, 28.0
_P95 = 0.95
_FAR = np.linspace(0.5, 12.0, 116)
_TAIL = 1e-3, 0.05
"""Shares of violations that matter."""


def gamma_survival(skew: float, places: Floats) -> Floats:
    """The probability to exceed each of these places, in standard deviations from the mean, at a skewness."""
    from scipy.special import gammaincc, ndtr

    if skew == 0.0:
        return np.asarray(ndtr(-places))
    shape = 4.0 / skew**2
    return np.asarray(gammaincc(shape, np.maximum(shape + places * math.sqrt(shape), 0.0)))


def lognormal_survival(skew: float, places: Floats) -> Floats:
    """The same of a shifted lognormal time."""
    from scipy.special import ndtr

    if skew == 0.0:
        return np.asarray(ndtr(-places))
    variation = 2.0 * math.sinh(math.asinh(skew / 2.0) / 3.0)
    deviation = math.sqrt(math.log1p(variation**2))
    with np.errstate(divide="ignore"):
        logarithms = np.log(np.maximum(1.0 + variation * places, 0.0))
    return np.asarray(ndtr(-logarithms / deviation - deviation / 2.0))


def heaviness(mean: float, variance: float, third: float, survival: Callable[[Floats], Floats]) -> float:
    """How far a tail is from the gamma's to the lognormal's of its cumulants, 0 to 1: by least squares.

    Args:
        survival: the probability to exceed each of some times.
    """
    if variance <= 0.0 or third <= 0.0:
        return 0.0
    skew = min(third / variance**1.5, _LARGEST_SKEW)
    truth = survival(mean + math.sqrt(variance) * _FAR)
    is_tail = (truth >= _TAIL[0]) & (truth <= _TAIL[1])
    places, truth = _FAR[is_tail], truth[is_tail]
    gamma = gamma_survival(skew, places)
    apart, off = (lognormal_survival(skew, places) - gamma) / truth, (truth - gamma) / truth
    square = float(apart @ apart)
    return min(max(float(off @ apart) / square, 0.0), 1.0) if square > 0.0 else 0.0


def _table() -> tuple[Floats, Floats]:
    """Survival by tail, skewness and place, and the gamma's 95th percentile by skewness, in standard deviations."""
    from scipy.special import gammainccinv, ndtri

    places, skews = np.linspace(_LOWEST, _HIGHEST, _PLACES), np.linspace(0.0, _LARGEST_SKEW, _SKEWS)
    shapes = 4.0 / skews[1:] ** 2
    p95 = np.append(ndtri(_P95), (gammainccinv(shapes, 1.0 - _P95) - shapes) / np.sqrt(shapes))
    tails = [[law(skew, places) for skew in skews.tolist()] for law in (gamma_survival, lognormal_survival)]
    return np.array(tails), p95


SURVIVAL, GAMMA_P95 = _table()
"""float64 ``(tails, skewnesses, places)``, the gamma's tail first, and ``(skewnesses,)``."""


@inlined
def _skewness_place(second, third):
    """Where a skewness stands in the tables."""
    if second <= 0.0:
        return 0.0
    skew = third / (second * math.sqrt(second))
    return min(max(skew / _LARGEST_SKEW, 0.0), 1.0) * (_SKEWS - 1)


@inlined
def _between(table, row, down, column, right):
    """A value between those of a table."""
    upper = table[row, column] + right * (table[row, column + 1] - table[row, column])
    lower = table[row + 1, column] + right * (table[row + 1, column + 1] - table[row + 1, column])
    return upper + down * (lower - upper)


@inlined
def time_exceeds(survival, first, second, third, heavy, seconds):
    """The probability that a time with these cumulants exceeds a length.

    Args:
        heavy: how much of the third is of times with a lognormal's tail.
    """
    distance = seconds - first
    if second <= 1e-18:
        return 1.0 if distance < 0.0 else 0.0
    place = (distance / math.sqrt(second) - _LOWEST) * ((_PLACES - 1) / (_HIGHEST - _LOWEST))
    if place <= 0.0:
        return 1.0
    if place >= _PLACES - 1:
        return 0.0
    column = np.int64(place)
    row_place = _skewness_place(second, third)
    row = np.int64(min(row_place, _SKEWS - 1.001))
    right, down = place - column, row_place - row
    found = _between(survival[0], row, down, column, right)
    if heavy > 0.0:
        far = _between(survival[1], row, down, column, right)
        found += min(heavy / third, 1.0) * (far - found)
    return found


@inlined
def time_p95(p95, first, second, third):
    """The 95th percentile of a time with these cumulants."""
    place = _skewness_place(second, third)
    row = np.int64(min(place, _SKEWS - 1.001))
    deviations = p95[row] + (place - row) * (p95[row + 1] - p95[row])
    return first + deviations * math.sqrt(max(second, 0.0))
