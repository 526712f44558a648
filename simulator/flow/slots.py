"""Callers that keep their slots while they wait for what they call.

A pod with calls in all of its slots is a closed network: they go round between its CPU, which as many as it has cores
share, and their callees. What it gets done is known exactly for exponential times, and for any where the CPU is shared.
Sources: P. Franken et al., Queues and Point Processes, 1982 (insensitivity); J. Little, 1961; H. Sakasegawa, 1977.
"""

from __future__ import annotations

import math

import numpy as np

from simulator.arrays import Floats
from simulator.compiled import inlined

POINTS = 65
HIGHEST_LOAD = 0.95
"""What is beyond is a backlog."""
_SELDOM = 9.0
"""Nobody waits where the chance to is below ``exp(-9)``; ``log x`` is below ``2 (x - 1) / (x + 1)`` for loads ``x``."""


def busy_table(slots: float, units: float) -> Floats:
    """How much of a pod's work its slots keep up, by how long calls are away: float64 ``(POINTS,)``.

    With ``y`` the time away over that which the pod needs for a call of each slot, the value at the place
    ``q = y / (1 + y)`` is ``(1 + y)`` times the share of all the work that it could do; linear between places.

    Args:
        slots: of the pod.
        units: calls that it works on at full speed at once.
    """
    if math.isinf(slots):
        return np.ones(POINTS)
    places = np.linspace(0.0, 1.0, POINTS)[1:-1]
    away = places / (1.0 - places) * slots / units
    at_work = np.arange(1, round(slots) + 1)
    rates = np.minimum(at_work, units)
    steps = (slots - at_work + 1) / away[:, np.newaxis] / rates
    weights = np.cumsum(np.log(steps), axis=1)
    top = np.maximum(weights.max(axis=1), 0.0)
    chances = np.exp(weights - top[:, np.newaxis])
    done = chances @ rates / (chances.sum(axis=1) + np.exp(-top))
    return np.concatenate([[1.0], done / units / (1.0 - places), [1.0]])


@inlined
def slots_share(stations, flows, n, s, rate):
    """Share of the calls that pods could work on that they do with calls in all of their slots.

    Args:
        rate: calls that a pod could work on in a second.
    """
    if stations.slots[s] == np.inf or flows.away_seconds[n, s] <= 0.0:
        return 1.0
    away = flows.away_seconds[n, s] * rate / stations.slots[s]
    table, share = stations.kept_busy[s], 1.0 / (1.0 + away)
    place = away * share * (POINTS - 1)
    left = min(int(place), POINTS - 2)
    return min((table[left] + (place - left) * (table[left + 1] - table[left])) * share, 1.0)


@inlined
def wait_for_slot(stations, flows, traffic, n, s, pods, work, capacities, call_seconds):
    """Find how long calls wait for a slot since those before keep theirs while they are away, 0 until then.

    How long they would wait anyway is in what was measured of the service by itself.

    Args:
        work: that comes in a part of a step.
        capacities: what can be done in it, and what could with slots enough.
        call_seconds: work of a call, times the part's length.
    """
    capacity, full = capacities
    queues = 1.0 if stations.pools[s] else pods
    slots = pods * stations.slots[s] if stations.pools[s] else stations.slots[s]
    power, load = math.sqrt(2.0 * (slots + 1.0)) - 1.0, min(work / capacity, HIGHEST_LOAD)
    if 2.0 * power * (1.0 - load) > _SELDOM * (1.0 + load):
        return
    between, least = queues * call_seconds / capacity, queues * call_seconds / full
    held = slots * between
    own = max(held - flows.away_seconds[n, s], 0.0)
    arrivals = 1.0 / pods if stations.in_turn[s] else 1.0
    variability = (stations.scv[s] * own * own + flows.away_variance[n, s]) / (held * held)
    chance, wait = _queue(power, load, between, arrivals + variability)
    usual_chance, usual = _queue(power, min(work / full, HIGHEST_LOAD), least, arrivals + stations.scv[s])
    mean = max(chance * wait - usual_chance * usual, 0.0)
    wait = mean / max(chance, 1e-300)
    traffic.slot_wait[s, 0] = mean
    traffic.slot_wait[s, 1] = (2.0 * wait - mean) * mean
    traffic.slot_wait[s, 2] = (6.0 * wait * wait - 6.0 * wait * mean + 2.0 * mean * mean) * mean


@inlined
def _queue(power, load, between, variability):
    """The probability that a call waits, and how long if it does.

    Args:
        power: of the load.
        between: seconds between two calls that are done when all slots are taken.
        variability: sum of the squared coefficients of variation of arrivals and of how long a slot is taken.
    """
    return load**power, 0.5 * variability * between / (1.0 - load)
