"""Random numbers of a cluster's pods and nodes, taken one after the other."""

from __future__ import annotations

import math

import numpy as np

from simulator.compiled import inlined
from simulator.flow.fleet import DRAWN
from simulator.randomness import mix, normal, uniform

_FLEET = np.uint64(0xC2B2AE3D27D4EB4F)


@inlined
def draw(world, fleet, n):
    """The next number of a cluster, uniform within (0, 1)."""
    fleet.cluster[n, DRAWN] += 1
    return uniform(mix(world.key[n] + _FLEET), 2 * fleet.cluster[n, DRAWN])


@inlined
def draw_delay(world, fleet, n, law):
    """The next lognormal time of a cluster; of a median, and a standard deviation of its logarithm."""
    fleet.cluster[n, DRAWN] += 1
    return delay_of(world, n, law, fleet.cluster[n, DRAWN])


@inlined
def delay_of(world, n, law, number):
    """The lognormal time that a number stands for."""
    return law[0] * math.exp(law[1] * normal(mix(world.key[n] + _FLEET), number))
