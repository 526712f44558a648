"""Calls that are made at once: the longest of several times, by their cumulants.

Times are taken to be between normal ones and exponential ones that begin somewhere, by their skewness; of both the
largest is known. Copies of one call are as independent as different calls.
Source: C. Clark, The greatest of a finite set of random variables, 1961.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from simulator.compiled import inlined

_FAR = 6.0
"""So many deviations apart, one time is the longer."""
_WIDEST, _POINTS = 10.0, 20_001


@cache
def largest_of(count: int) -> tuple[float, float, float, float, float]:
    """What the largest of so many is beside a single one.

    Returns:
        By how many deviations its mean is larger, of normal and of exponential times; the factor of the variance,
        likewise; and of the third cumulant of exponential ones.
    """
    at, width = np.linspace(-_WIDEST, _WIDEST, _POINTS, retstep=True)
    below = 0.5 * (1.0 + np.array([math.erf(each / math.sqrt(2.0)) for each in at.tolist()]))
    density = np.diff(below**count) / width
    middle = 0.5 * (at[:-1] + at[1:])
    mean = float((middle * density).sum() * width)
    variance = float((middle**2 * density).sum() * width) - mean**2
    inverse = 1.0 / np.arange(1, count + 1)
    return mean, float(inverse.sum()) - 1.0, variance, float((inverse**2).sum()), float((inverse**3).sum())


@inlined
def longest_copy(answered, largest):
    """The response of the one that takes longest, of so many calls that are answered so.

    Args:
        largest: see ``largest_of``.
    """
    first, second, third, heavy, calm = answered
    if second <= 0.0:
        return answered
    deviation = math.sqrt(second)
    skewed = min(max(0.5 * third / (second * deviation), 0.0), 1.0)
    more = deviation * (largest[0] + skewed * (largest[1] - largest[0]))
    second *= largest[2] + skewed * (largest[3] - largest[2])
    return first + more, second, third * largest[4], heavy * largest[4], calm + more


@inlined
def longer(one, other):
    """The response of two that are called at once, of which the one that takes longer counts."""
    deviation, other_deviation = math.sqrt(one[1]), math.sqrt(other[1])
    ahead = one[0] - other[0]
    cubes = deviation**3 + other_deviation**3
    if cubes == 0.0 or abs(ahead) > _FAR * (deviation + other_deviation):
        return one if ahead >= 0.0 else other
    skewed = min(max(0.5 * (one[2] + other[2]) / cubes, 0.0), 1.0)
    spread = math.sqrt(one[1] + other[1])
    chance = 0.5 * math.erfc(-ahead / spread / math.sqrt(2.0))
    density = math.exp(-0.5 * (ahead / spread) ** 2) / math.sqrt(2.0 * math.pi)
    mean = ahead * chance + spread * density
    square = (ahead * ahead + one[1]) * chance + other[1] * (1.0 - chance) + ahead * spread * density
    begins, first, second, third = _longer_exponential(ahead, deviation, other_deviation)
    mean += skewed * (begins + first - mean)
    variance = square - (ahead * chance + spread * density) ** 2
    variance += skewed * (second - variance)
    normal = chance * one[2] + (1.0 - chance) * other[2]
    third = normal + skewed * (third - normal)
    heavy = third * (
        chance * one[3] / max(one[2], 1e-300) + (1.0 - chance) * other[3] / max(other[2], 1e-300)
    )
    calm = max(one[4], other[4]) + mean - max(ahead, 0.0)
    return other[0] + mean, variance, third, heavy, calm


@inlined
def _longer_exponential(ahead, deviation, other_deviation):
    """Of two exponential times that begin somewhere: where the later begins, then cumulants of what is after.

    Args:
        ahead: mean of the one less that of the other, which all is counted from.
    """
    begins, later = ahead - deviation, deviation
    before, other = -other_deviation, other_deviation
    if begins < before:
        begins, before, later, other = before, begins, other, later
    passes = math.exp(-(begins - before) / other) if other > 0.0 else 0.0
    both = later * other / (later + other)
    mean = later + passes * (other - both)
    square = 2.0 * (later**2 + passes * (other**2 - both**2))
    cube = 6.0 * (later**3 + passes * (other**3 - both**3))
    return begins, mean, square - mean * mean, cube - 3.0 * mean * square + 2.0 * mean**3
