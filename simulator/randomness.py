"""Randomness by key: each draw is a function of what it is for, not of when it is made.

A request, a call and each purpose have 64-bit keys, mixed from the seed on. So two policies meet
the same requests with the same service times, whatever order they are served in.
Source: G. Steele, D. Lea and C. Flood, Fast splittable pseudorandom number generators, 2014
(SplitMix64); J. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011 (counters).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from simulator.compiled import inlined

SERVICE, ROUTING, NETWORK, BACK_OFF, DISPATCH, CLASS, ERROR = range(7)
"""Purposes: a call's keys for its service time, its calls taken, its delays, its retry's wait, its pod, its error."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_R30, _R27, _R31, _R12 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(12)
_EDGE_BITS, _BRANCH_BITS = np.uint64(32), np.uint64(16)
_ONE = np.uint64(1)
_MIDDLE = (
    3.3871328727963666080e0,
    1.3314166789178437745e2,
    1.9715909503065514427e3,
    1.3731693765509461125e4,
    4.5921953931549871457e4,
    6.7265770927008700853e4,
    3.3430575583588128105e4,
    2.5090809287301226727e3,
)
_MIDDLE_BELOW = (
    1.0,
    4.2313330701600911252e1,
    6.8718700749205790830e2,
    5.3941960214247511077e3,
    2.1213794301586595867e4,
    3.9307895800092710610e4,
    2.8729085735721942674e4,
    5.2264952788528545610e3,
)
_SIDE = (
    1.42343711074968357734e0,
    4.63033784615654529590e0,
    5.76949722146069140550e0,
    3.64784832476320460504e0,
    1.27045825245236838258e0,
    2.41780725177450611770e-1,
    2.27238449892691845833e-2,
    7.74545014278341407640e-4,
)
_SIDE_BELOW = (
    1.0,
    2.05319162663775882187e0,
    1.67638483018380384940e0,
    6.89767334985100004550e-1,
    1.48103976427480074590e-1,
    1.51986665636164571966e-2,
    5.47593808499534494600e-4,
    1.05075007164441684324e-9,
)
_TAIL = (
    6.65790464350110377720e0,
    5.46378491116411436990e0,
    1.78482653991729133580e0,
    2.96560571828504891230e-1,
    2.65321895265761230930e-2,
    1.24266094738807843860e-3,
    2.71155556874348757815e-5,
    2.01033439929228813265e-7,
)
_TAIL_BELOW = (
    1.0,
    5.99832206555887937690e-1,
    1.36929880922735805310e-1,
    1.48753612908506148525e-2,
    7.86869131145613259100e-4,
    1.84631831751005468180e-5,
    1.42151175831644588870e-7,
    2.04426310338993978564e-15,
)
_TO_UNIT = 2.0**-52


@inlined
def mix(value):
    """SplitMix64's finalizer: a bijection of uint64."""
    value = (value ^ (value >> _R30)) * _FIRST
    value = (value ^ (value >> _R27)) * _SECOND
    return value ^ (value >> _R31)


@inlined
def request_key(seed, index):
    """Key of the index-th user request of a run."""
    return mix(seed + _GOLDEN * (np.uint64(index) + _ONE))


@inlined
def call_key(parent, edge, branch, attempt):
    """Key of a call: of the caller's key, the call's place in the graph, its branch and attempt."""
    place = (np.uint64(edge) << _EDGE_BITS) + (np.uint64(branch) << _BRANCH_BITS) + np.uint64(attempt)
    return mix(parent ^ mix(place + _GOLDEN))


@inlined
def purpose_key(key, purpose):
    """Key of one purpose of a call."""
    return mix(key + _GOLDEN * (np.uint64(purpose) + _ONE))


@inlined
def uniform(key, index):
    """The index-th number of a key, uniform within (0, 1), ends excluded."""
    bits = mix(key + _GOLDEN * (np.uint64(index) + _ONE))
    # 52 bits: with 53, the half would round the largest to 1
    return (np.float64(bits >> _R12) + 0.5) * _TO_UNIT


@inlined
def normal(key, index):
    """The index-th standard normal number of a key, from its uniform 2 index by inversion.

    Source: M. Wichura, Algorithm AS 241: the percentage points of the normal distribution, 1988
    (PPND16, a relative error of 1e-16).
    """
    share = uniform(key, 2 * index)
    from_middle = share - 0.5
    if abs(from_middle) <= 0.425:
        r = 0.180625 - from_middle * from_middle
        return from_middle * _polynomial(_MIDDLE, r) / _polynomial(_MIDDLE_BELOW, r)
    r = math.sqrt(-math.log(min(share, 1.0 - share)))
    if r <= 5.0:
        size = _polynomial(_SIDE, r - 1.6) / _polynomial(_SIDE_BELOW, r - 1.6)
    else:
        size = _polynomial(_TAIL, r - 5.0) / _polynomial(_TAIL_BELOW, r - 5.0)
    return size if from_middle > 0 else -size


@inlined
def _polynomial(coefficients, x):
    value = coefficients[7]
    for place in range(6, -1, -1):
        value = value * x + coefficients[place]
    return value


def seed_key(sequence: np.random.SeedSequence) -> np.uint64:
    """A 64-bit key from a seed sequence."""
    return np.uint64(sequence.generate_state(1, np.uint64)[0])


class Streams(NamedTuple):
    """The randomness of a run on the request engine, one sequence for each part of it."""

    arrivals: np.random.SeedSequence
    requests: np.random.SeedSequence
    starts: np.random.SeedSequence
    metrics: np.random.SeedSequence
    pods: np.random.SeedSequence
    nodes: np.random.SeedSequence
    faults: np.random.SeedSequence


def spawn_streams(seed: int | np.random.SeedSequence) -> Streams:
    """What a run's seed gives each part of it."""
    sequence = np.random.SeedSequence(seed) if isinstance(seed, int) else seed
    return Streams(*sequence.spawn(len(Streams._fields)))
