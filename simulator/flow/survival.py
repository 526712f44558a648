"""How likely a service time exceeds a length: a table for each law, in units of its mean.

The grid has equal parts within octaves, so that a place is found by a number's bits, without a logarithm.
"""

from __future__ import annotations

import math

import numpy as np

from simulator.arrays import Floats
from simulator.compiled import inlined
from simulator.laws.law import ServiceTimeLaw

_PARTS_BITS = 5
_LOWEST_EXPONENT, _OCTAVES = -8, 20
_MANTISSA_BITS = 52
_SHIFT = _MANTISSA_BITS - _PARTS_BITS
_OFFSET = (1023 + _LOWEST_EXPONENT) << _PARTS_BITS
_REST = (1 << _SHIFT) - 1
_PART = 2.0**-_SHIFT
_LAST = (_OCTAVES << _PARTS_BITS) - 1


def survival_table(law: ServiceTimeLaw) -> Floats:
    """float64 ``(X,)``; the probability to exceed each point of the grid."""
    octaves = np.repeat(2.0 ** np.arange(_LOWEST_EXPONENT, _LOWEST_EXPONENT + _OCTAVES), 1 << _PARTS_BITS)
    parts = np.tile(1.0 + np.arange(1 << _PARTS_BITS) / (1 << _PARTS_BITS), _OCTAVES)
    return np.asarray(law.survival(octaves * parts * law.mean_seconds))


@inlined
def inverse(table, share):
    """How many means a service time is over with this probability."""
    if share >= table[0]:
        return math.ldexp(1.0, _LOWEST_EXPONENT)
    low, high = 0, _LAST
    while high - low > 1:
        middle = (low + high) >> 1
        low, high = (middle, high) if table[middle] > share else (low, middle)
    begin, end = _point(low), _point(high)
    return end - (end - begin) * (share - table[high]) / max(table[low] - table[high], 1e-300)


@inlined
def _point(place):
    """A point of the grid."""
    part = 1.0 + (place & ((1 << _PARTS_BITS) - 1)) / (1 << _PARTS_BITS)
    return math.ldexp(part, _LOWEST_EXPONENT + (place >> _PARTS_BITS))


@inlined
def exceeds(table, means):
    """The probability that a service time is over so many means."""
    if means <= 0.0:
        return 1.0
    bits = np.float64(means).view(np.int64)
    place = (bits >> _SHIFT) - _OFFSET
    if place < 0:
        return 1.0
    if place >= _LAST:
        return table[_LAST]
    share = (bits & _REST) * _PART
    return table[place] + share * (table[place + 1] - table[place])
