"""Randomness by key: each draw is a function of what it is for, not of when it is made.

A request, a call and each purpose have 64-bit keys, mixed from the seed on. So two policies meet
the same requests with the same service times, whatever order they are served in.
Source: G. Steele, D. Lea and C. Flood, Fast splittable pseudorandom number generators, 2014
(SplitMix64); J. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011 (counters).
"""

from __future__ import annotations

import math

import numpy as np

from simulator.compiled import inlined

SERVICE, ROUTING, NETWORK, BACK_OFF, DISPATCH, CLASS = range(6)
"""Purposes: a call's keys for its service time, its calls taken, its delays, its retry's wait, its pod."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_R30, _R27, _R31, _R12 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(12)
_EDGE_BITS, _BRANCH_BITS = np.uint64(32), np.uint64(16)
_ONE = np.uint64(1)
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
    """The index-th standard normal number of a key; it uses uniforms 2 index and 2 index + 1.

    Source: G. Box and M. Muller, A note on the generation of random normal deviates, 1958.
    """
    radius = math.sqrt(-2.0 * math.log(uniform(key, 2 * index)))
    return radius * math.cos(2.0 * math.pi * uniform(key, 2 * index + 1))


def seed_key(sequence: np.random.SeedSequence) -> np.uint64:
    """A 64-bit key from a seed sequence."""
    return np.uint64(sequence.generate_state(1, np.uint64)[0])
