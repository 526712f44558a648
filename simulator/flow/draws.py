"""Draws of the batch engine: each is a function of a key and a number."""

from __future__ import annotations

import math

import numpy as np

from simulator.compiled import inlined
from simulator.randomness import mix, uniform

ARRIVALS, NOISE, LOWEST, READ, _, COHORT = range(6)
REFUSED = 1000
"""What the numbers of a part's key are for; a reading takes two, a cohort that of its age further on."""
_GOLDEN, _SERVICES = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_LEVELS = np.uint64(0xD6E8FEB86659FD93)
_ONE = np.uint64(1)
_SMALL_MEAN = 30.0
_EIGHT, _TOP = np.uint64(8), np.uint64(48)
_EVEN_BYTES, _SUM_UP = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0001000100010001)
_MEAN_OF_BYTES, _PER_DEVIATION = 8 * 127.5, (8 * (256**2 - 1) / 12) ** -0.5


@inlined
def part_key(key, part):
    """Key of all draws of a part of a step."""
    return mix(key + _GOLDEN * (np.uint64(part) + _ONE))


@inlined
def service_key(key, service):
    """Key of a part's draws that belong to a service; the first has the part's own."""
    return key if service == 0 else mix(key + _SERVICES * np.uint64(service))


@inlined
def deviate_of(key, number):
    """A number of mean 0 and variance 1, almost normal up to 4.9 either way: the sum of eight uniform bytes."""
    bits = mix(key + _GOLDEN * (np.uint64(number) + _ONE))
    pairs = (bits & _EVEN_BYTES) + ((bits >> _EIGHT) & _EVEN_BYTES)
    total = (pairs * _SUM_UP) >> _TOP
    return (np.float64(np.int64(total)) - _MEAN_OF_BYTES) * _PER_DEVIATION


@inlined
def poisson(key, number, mean):
    """A Poisson number from a key's numbers from this one on: rounded from a normal one where the mean is large."""
    if mean <= 0.0:
        return 0.0
    if mean > _SMALL_MEAN:
        deviate = deviate_of(key, number)
        return max(np.rint(mean + math.sqrt(mean) * deviate + (deviate * deviate - 1.0) / 6.0), 0.0)
    left = uniform(key, number)
    chance = math.exp(-mean)
    count = 0.0
    while left > chance and count < 200.0:
        left -= chance
        count += 1.0
        chance *= mean / count
    return count


@inlined
def level_factor(loads, world, state, n, begin, span):
    """Mean factor of the rate in a part of a step, as a Markov chain has it; 1 without one."""
    if len(loads.levels) == 0:
        return 1.0
    key = mix(world.key[n] + _LEVELS)
    total, now, end = 0.0, begin, begin + span
    while now < end:
        until = min(state.level_end[n], end)
        total += loads.levels[state.level[n]] * (until - now)
        now = until
        if state.level_end[n] <= now:
            state.level_number[n] += 1
            row = loads.jumps[state.level[n]]
            _enter_level(loads, state, n, key, row)
    return total / span


@inlined
def begin_levels(loads, world, state, n):
    """Draw the chain's state at an episode's beginning."""
    state.level_number[n], state.level_end[n] = 0, 0.0
    if len(loads.levels):
        _enter_level(loads, state, n, mix(world.key[n] + _LEVELS), loads.stationary)


@inlined
def _enter_level(loads, state, n, key, chances):
    chance = uniform(key, 2 * state.level_number[n])
    level = 0
    while level < len(chances) - 1 and chance > chances[level]:
        level += 1
    state.level[n] = level
    stay = -math.log(uniform(key, 2 * state.level_number[n] + 1)) * loads.sojourn_seconds[level]
    state.level_end[n] += stay


@inlined
def gamma_factor(key, number, deviation):
    """A factor of mean 1, gamma distributed with a standard deviation.

    Source: E. Wilson and M. Hilferty, The distribution of chi-square, 1931.
    """
    ninth = deviation * deviation / 9.0
    return max(1.0 - ninth + math.sqrt(ninth) * deviate_of(key, number), 0.0) ** 3


@inlined
def expected(loads, load, seconds):
    """Requests expected since a load's beginning."""
    table = loads.expected[load]
    position = seconds / loads.bin_seconds
    place = min(int(position), len(table) - 2)
    return table[place] + (position - place) * (table[place + 1] - table[place])
