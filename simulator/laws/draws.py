"""Compiled draws of the service-time laws: a time is a function of the law and of a key.

They stand apart from the laws' settings, which a controller reads without numba. Each reads its
law's ``parameters()`` from ``values[at]`` on, and no number of a key twice.
Sources: L. Devroye, Non-uniform random variate generation, 1986 (inversion); G. Marsaglia and W. Tsang,
A simple method for generating gamma variables, 2000; M. Vose, A linear algorithm for generating random
numbers with a given distribution, 1991 (alias table).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Floats
from simulator.compiled import inlined, kernel
from simulator.laws import deterministic, empirical, exponential, gamma, hyperexponential, lognormal, pareto
from simulator.laws.law import ServiceTimeLaw
from simulator.randomness import normal, request_key, uniform


@inlined
def draw_seconds(code, values, at, key):
    """The service time that a key has by the law of this code, whose parameters begin at ``values[at]``."""
    if code == exponential.CODE:
        return _exponential(values, at, key)
    if code == lognormal.CODE:
        return _lognormal(values, at, key)
    if code == deterministic.CODE:
        return values[at]
    if code == gamma.CODE:
        return _gamma(values, at, key)
    if code == pareto.CODE:
        return _pareto(values, at, key)
    if code == hyperexponential.CODE:
        return _hyperexponential(values, at, key)
    if code == empirical.CODE:
        return _empirical(values, at, key)
    return np.nan


def draw_many(code: int, values: Floats, keys: NDArray[np.uint64]) -> Floats:
    """The service times of many keys.

    Args:
        code: the law's ``code``.
        values: float64; the law's ``parameters()``.
        keys: uint64 ``(n,)``.

    Returns:
        float64 ``(n,)``, seconds.
    """
    seconds = np.empty(len(keys))
    _draw(code, values, keys, seconds)
    return seconds


def sample(law: ServiceTimeLaw, seed_key: np.uint64, size: int) -> Floats:
    """float64 ``(size,)``, seconds: the times of the first ``size`` request keys of a seed's key."""
    keys = np.empty(size, dtype=np.uint64)
    _request_keys(np.uint64(seed_key), keys)
    return draw_many(law.code, np.array(law.parameters()), keys)


@kernel
def _draw(code, values, keys, seconds):
    """What draw_seconds does, with a loop for each law: half as long again with the choice of the law inside."""
    if code == exponential.CODE:
        _fill(_exponential, values, keys, seconds)
    elif code == lognormal.CODE:
        _fill(_lognormal, values, keys, seconds)
    else:
        for place in range(len(keys)):
            seconds[place] = draw_seconds(code, values, 0, keys[place])


@inlined
def _fill(draw, values, keys, seconds):
    for place in range(len(keys)):
        seconds[place] = draw(values, 0, keys[place])


@kernel
def _request_keys(seed, keys):
    for index in range(len(keys)):
        keys[index] = request_key(seed, index)


@inlined
def _exponential(values, at, key):
    return -values[at] * math.log(uniform(key, 0))


@inlined
def _lognormal(values, at, key):
    return math.exp(values[at] + values[at + 1] * normal(key, 0))


@inlined
def _gamma(values, at, key):
    """By Marsaglia and Tsang; a boost takes number 0, attempt j = 1, 2, ... takes 4 j, 4 j + 1 and 4 j + 2."""
    depth, width, scale, power = values[at], values[at + 1], values[at + 2], values[at + 3]
    if power > 0.0:
        scale *= uniform(key, 0) ** power
    attempt = 0
    while True:
        attempt += 1
        deviate = normal(key, 2 * attempt)
        step = width * deviate
        if step <= -1.0:
            continue
        chance = uniform(key, 4 * attempt + 2)
        square = deviate * deviate
        # the paper's d (1 - v + log v) with v = (1 + step) ** 3, which would cancel at large d
        fall = depth * (3.0 * math.log1p(step) - step * (3.0 + step * (3.0 + step)))
        if chance < 1.0 - 0.0331 * square * square or math.log(chance) < 0.5 * square + fall:
            return scale * (1.0 + step) ** 3


@inlined
def _pareto(values, at, key):
    """By inversion: ``lowest (1 - u (1 - (lowest / highest) ** shape)) ** (-1 / shape)``."""
    lowest, highest, shape = values[at], values[at + 1], values[at + 2]
    seconds = lowest * math.exp(-math.log1p(uniform(key, 0) * values[at + 3]) / shape)
    return min(seconds, highest)  # rounding may pass the end


@inlined
def _hyperexponential(values, at, key):
    phase = 1 if uniform(key, 0) < values[at] else 2
    return -values[at + phase] * math.log(uniform(key, 1))


@inlined
def _empirical(values, at, key):
    place = at + 1 + 3 * np.int64(uniform(key, 0) * values[at])
    return values[place + 1] if uniform(key, 1) < values[place] else values[place + 2]
