"""The beginning of an episode: what a cluster is, drawn from its key, and what is there at the start."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from simulator.arrays import Floats, Ints
from simulator.compiled import inlined, kernel
from simulator.flow.draws import begin_levels, expected, part_key
from simulator.flow.faults import begin_faults, suffer
from simulator.flow.readings import see_one
from simulator.flow.tables import DONE, LEFT
from simulator.randomness import mix, uniform

_EPISODE = np.uint64(0xD1B54A32D192ED03)
_ONE = np.uint64(1)
_DRAWS = -1
"""The number of the part that stands for what is before the first step."""
_LOAD, _BEGIN, _SCRAPE, _LAW, _FACTORS = range(5)
LOAD, SERVICE_TIME, SLO, SLOTS, START_UP, LAG, PRICE, HAZARD = range(8)
_STAFFED_SECONDS = 60.0
_ALL = 0.9999
_HALF_ROOT = math.sqrt(0.5)


class Episodes(NamedTuple):
    """What episodes are drawn from.

    Attributes:
        factors: float64 ``(8, 2)``; logarithms of the lowest and highest factor of LOAD to HAZARD.
        grid_seconds: an episode begins at a whole multiple of it within its load.
        beginnings: how many there are.
        mean_seconds: float64 ``(S,)``.
        scv: float64 ``(L,)``; of each law.
        slots: float64 ``(S,)``; work that makes a pod's CPU usage its request, a second; slots where those work.
        whole_slots: whether ``slots`` are drawn, and whole.
        staff_seconds: float64 ``(S,)``; slot-seconds that a request takes on average.
        staff_slots: float64 ``(S,)``; slots of a pod.
        usd_per_second: float64 ``(S,)``; of a pod.
        drain_seconds: float64 ``(S,)``.
        start_up: float64 ``(S, 2)``; median, and standard deviation of its logarithm.
        fewest: int64 ``(S,)``; replicas.
        most: int64 ``(S,)``; replicas.
        slo_seconds: the SLO.
        lag_seconds: from a reading until it is seen.
        first_scrape_seconds: when the first reading is; drawn within an interval where it is negative.
        staffing_quality: see ``Scenario``.
    """

    factors: Floats
    grid_seconds: float
    beginnings: int
    mean_seconds: Floats
    scv: Floats
    slots: Floats
    whole_slots: bool
    staff_seconds: Floats
    staff_slots: Floats
    usd_per_second: Floats
    drain_seconds: Floats
    start_up: Floats
    fewest: Ints
    most: Ints
    slo_seconds: float
    lag_seconds: float
    first_scrape_seconds: float
    staffing_quality: float


@inlined
def _factor(episodes, key, what):
    low, high = episodes.factors[what]
    return math.exp(low + (high - low) * uniform(key, _FACTORS + what))


@inlined
def _draw(clock, loads, laws, episodes, world, n, key):
    """What the cluster is."""
    scale = _factor(episodes, key, SERVICE_TIME)
    world.starts[n] = starts = _factor(episodes, key, START_UP)
    world.slo_seconds[n] = episodes.slo_seconds * scale * _factor(episodes, key, SLO)
    world.lag_seconds[n] = episodes.lag_seconds * _factor(episodes, key, LAG)
    world.first_scrape_seconds[n] = episodes.first_scrape_seconds
    if episodes.first_scrape_seconds < 0.0:
        world.first_scrape_seconds[n] = clock.scrape_seconds * uniform(key, _SCRAPE)
    world.load[n] = np.int64(uniform(key, _LOAD) * len(loads.expected))
    begin = np.int64(uniform(key, _BEGIN) * episodes.beginnings)
    world.load_begin_seconds[n] = episodes.grid_seconds * begin
    world.load_scale[n] = _factor(episodes, key, LOAD)
    world.hazard[n] = _factor(episodes, key, HAZARD)
    law = np.int64(uniform(key, _LAW) * len(laws.survival))
    world.price[n] = price = _factor(episodes, key, PRICE)
    slots = _factor(episodes, key, SLOTS)
    part_seconds = clock.period_seconds / clock.parts
    for s in range(len(episodes.slots)):
        world.law[n, s] = law
        world.mean_seconds[n, s] = episodes.mean_seconds[s] * scale
        world.scv[n, s] = episodes.scv[law]
        world.slots[n, s] = episodes.slots[s]
        if episodes.whole_slots:
            world.slots[n, s] = max(np.rint(episodes.slots[s] * slots), 1.0)
        world.usd_per_second[n, s] = episodes.usd_per_second[s] * price
        world.drain_seconds[n, s] = episodes.drain_seconds[s] * scale
        median, deviation = episodes.start_up[s, 0] * starts, episodes.start_up[s, 1]
        ages = world.started.shape[1]
        for age in range(ages):
            distance = math.log((age + 0.5) * part_seconds / median)
            share = 1.0 if distance >= 0.0 else 0.0
            if deviation > 0.0:
                share = 0.5 * math.erfc(-distance / deviation * _HALF_ROOT)
            world.started[n, age, s] = 1.0 if share >= _ALL or age == ages - 1 else share


@inlined
def _staff(loads, episodes, world, state, n):
    """Ready pods for the first minute's load, and nothing measured yet."""
    begin = world.load_begin_seconds[n]
    requests = expected(loads, world.load[n], begin + _STAFFED_SECONDS) - expected(
        loads, world.load[n], begin
    )
    rate = world.load_scale[n] * requests / _STAFFED_SECONDS
    state.step[n] = 0
    for s in range(len(episodes.slots)):
        stretch = world.mean_seconds[n, s] / episodes.mean_seconds[s]
        busy = rate * episodes.staff_seconds[s] * stretch
        slots = math.ceil(busy + episodes.staffing_quality * math.sqrt(busy))
        a_pod = episodes.staff_slots[s] * world.slots[n, s] / episodes.slots[s]
        pods = min(max(math.ceil(slots / a_pod), episodes.fewest[s]), episodes.most[s])
        state.wanted[n, s] = state.applied[n, s] = state.ready[n, s] = pods
        state.starting[n, s] = state.dark[n, s] = 0
        state.work[n, s] = state.backlog[n, s] = state.owed[n, s] = 0.0
        state.pace[n, s] = 1.0
        for slot in range(state.cohorts.shape[1]):
            state.cohorts[n, slot, s, LEFT] = state.cohorts[n, slot, s, DONE] = 0.0
        for place in range(state.totals.shape[2]):
            state.totals[n, s, place] = 0.0
        for place in range(state.waits.shape[2]):
            state.counts[n, s, place] = 0.0
        for place in range(state.history.shape[1]):
            state.history[n, place, s] = pods


@kernel
def begin_episodes(clock, loads, hazards, laws, episodes, world, state, seen, which, seeds, numbers):
    """Begin an episode of each of these clusters.

    Args:
        which: int64 ``(n,)``.
        seeds: uint64 ``(N,)``; keys of the clusters.
        numbers: int64 ``(N,)``; of the episodes.
    """
    for place in range(len(which)):
        n = which[place]
        world.key[n] = mix(seeds[n] + _EPISODE * (np.uint64(numbers[n]) + _ONE))
        _draw(clock, loads, laws, episodes, world, n, part_key(world.key[n], _DRAWS))
        begin_levels(loads, world, state, n)
        begin_faults(hazards, world, state, n)
        _staff(loads, episodes, world, state, n)
        suffer(hazards, clock, world, state, n)
        see_one(clock, world, state, seen, n)
