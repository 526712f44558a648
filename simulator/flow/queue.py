"""One queue of calls without the calls one by one.

Waiting is a reflected Brownian motion: a queue of c slots gets work at a rate and with a variance, and its state V is
the time that the slots need for what has come and is not done. Its stationary law is exponential, as conditional waits
are in heavy traffic; that often no call waits is a depth below which V means idle slots:
``W = max(0, V - depth)`` with ``P(V > depth) = rho ** (sqrt(2 (c + 1)) - 1)``. So waits have the mean of Sakasegawa's
formula where load is steady, and overload, recovery and what is between are those of the process.
Sources: J. Kingman, The heavy traffic approximation in the theory of queues, 1965; H. Sakasegawa, An approximation
formula Lq = a rho^b / (1 - rho), 1977; L. Shepp, The joint density of the maximum and its location for a Wiener
process with drift, 1979 (the lowest point of a path whose end is known).
"""

from __future__ import annotations

import math

import numpy as np

from simulator.compiled import inlined
from simulator.flow.draws import LOWEST, NOISE, deviate_of
from simulator.flow.survival import exceeds
from simulator.randomness import uniform

_ALMOST = 1.0 - 1e-4
_LEAST_LOAD = 1e-3
_HALVINGS = 8
_LATE_SHARE = 0.05


@inlined
def idle_depth(mean_seconds, variability, slots, utilization):
    """How far the process is below the first wait, seconds.

    Args:
        variability: sum of the squared coefficients of variation of arrivals and service.
    """
    load = min(max(utilization, _LEAST_LOAD), _ALMOST)
    scale = mean_seconds * variability / (2.0 * slots * (1.0 - load))
    return scale * (math.sqrt(2.0 * (slots + 1.0)) - 1.0) * -math.log(load)


@inlined
def latency_p95(laws, law, mean_seconds, waits, counts):
    """The 95th percentile of waiting and service time over the last parts of a step, NaN without calls."""
    lowest, highest, total = np.inf, 0.0, 0.0
    for place in range(len(waits)):
        if counts[place] > 0.0:
            lowest = min(lowest, waits[place])
            highest = max(highest, waits[place])
            total += counts[place]
    if total == 0.0:
        return np.nan
    alone = laws.p95[law] * mean_seconds
    low, high = lowest + alone, highest + alone
    if high - low > 0.01 * alone:
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            over = 0.0
            for place in range(len(waits)):
                if counts[place] > 0.0:
                    over += counts[place] * exceeds(
                        laws.survival[law], (middle - waits[place]) / mean_seconds
                    )
            if over > _LATE_SHARE * total:
                low = middle
            else:
                high = middle
    return 0.5 * (low + high)


@inlined
def serve(loads, laws, world, state, happened, n, s, arrived, span, part, key):
    """Let a part of a step happen at a service: what BUSY and CAPACITY grow by.

    Args:
        arrived: calls expected, and calls.
        span: the part's length, seconds.
        part: its number since the episode's beginning.
    """
    mean_calls, calls = arrived
    mean, scv = world.mean_seconds[n, s] / (state.cpu_share[n, s] * state.pace[n, s]), world.scv[n, s]
    slots = state.ready[n, s] * world.slots[n, s]
    before = state.backlog[n, s]
    work = calls * mean
    if slots == 0.0:
        state.work[n, s] += work
        state.backlog[n, s] = before + work
        wait, late, busy = state.work[n, s] / world.slots[n, s], calls, 0.0
    else:
        utilization = mean_calls * mean / (slots * span)
        deviate = deviate_of(key, NOISE)
        flow = work / slots - span + math.sqrt(mean * scv * span / slots) * deviate
        variance = span * mean / slots * (max(utilization, 1.0) * loads.dispersion + scv)
        fall = 0.5 * (flow - math.sqrt(flow * flow - 2.0 * variance * math.log(uniform(key, LOWEST))))
        begin = state.work[n, s] / slots
        end = max(begin + flow, flow - fall)
        depth = idle_depth(mean, loads.dispersion + scv, slots, utilization)
        wait = max(end - depth, 0.0)
        survival, slo = laws.survival[world.law[n, s]], world.slo_seconds[n] - state.delay_seconds[n, s]
        late_at_begin = exceeds(survival, (slo - max(begin - depth, 0.0)) / mean)
        late_at_end = exceeds(survival, (slo - wait) / mean)
        late = 0.5 * calls * (late_at_begin + late_at_end)
        state.work[n, s] = end * slots
        work += mean * math.sqrt(scv * min(calls, slots * span / mean)) * deviate
        backlog = min(wait * slots, max(before + work, 0.0))
        never_idle = begin + fall > depth
        busy = slots * span
        if not never_idle:
            done = work + before - backlog + state.owed[n, s]
            busy, state.owed[n, s] = min(max(done, 0.0), busy), min(done, 0.0)
        state.backlog[n, s] = backlog
    place = part % state.waits.shape[2]
    state.waits[n, s, place] = wait
    state.counts[n, s, place] = calls
    happened.waiting_seconds[n, s] += 0.5 * (before + state.backlog[n, s]) / mean * span
    happened.late[n] += late
    return busy * state.cpu_share[n, s], slots * span
