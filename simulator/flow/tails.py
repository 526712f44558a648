"""How likely a time exceeds a length where only its first three cumulants are known: Pearson's type III.

That is a shifted gamma distribution: of sums of many times it has the right mean, variance and skewness.
Source: K. Pearson, Contributions to the mathematical theory of evolution, II, 1895.
"""

from __future__ import annotations

import math

import numpy as np

from simulator.arrays import Floats
from simulator.compiled import inlined

_SKEWS, _LARGEST_SKEW = 49, 12.0
_PLACES, _LOWEST, _HIGHEST = 513, -4.0, 28.0
_P95 = 0.95


def _table() -> tuple[Floats, Floats]:
    """Survival by skewness and distance from the mean in standard deviations, and the 95th percentile by skewness."""
    from scipy.special import gammaincc, gammainccinv, ndtr, ndtri

    places = np.linspace(_LOWEST, _HIGHEST, _PLACES)
    survival, p95 = [ndtr(-places)], [float(ndtri(_P95))]
    for skew in np.linspace(0.0, _LARGEST_SKEW, _SKEWS)[1:]:
        shape = 4.0 / skew**2
        survival.append(gammaincc(shape, np.maximum(shape + places * math.sqrt(shape), 0.0)))
        p95.append(float((gammainccinv(shape, 1.0 - _P95) - shape) / math.sqrt(shape)))
    return np.array(survival), np.array(p95)


PEARSON_SURVIVAL, PEARSON_P95 = _table()
"""float64 ``(skewnesses, places)`` and ``(skewnesses,)``."""


@inlined
def _skewness_place(second, third):
    """Where a skewness stands in the tables."""
    if second <= 0.0:
        return 0.0
    skew = third / (second * math.sqrt(second))
    return min(max(skew / _LARGEST_SKEW, 0.0), 1.0) * (_SKEWS - 1)


@inlined
def time_exceeds(survival, first, second, third, seconds):
    """The probability that a time with these cumulants exceeds a length."""
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
    upper = survival[row, column] + right * (survival[row, column + 1] - survival[row, column])
    lower = survival[row + 1, column] + right * (survival[row + 1, column + 1] - survival[row + 1, column])
    return upper + down * (lower - upper)


@inlined
def time_p95(p95, first, second, third):
    """The 95th percentile of a time with these cumulants."""
    place = _skewness_place(second, third)
    row = np.int64(min(place, _SKEWS - 1.001))
    deviations = p95[row] + (place - row) * (p95[row + 1] - p95[row])
    return first + deviations * math.sqrt(max(second, 0.0))
