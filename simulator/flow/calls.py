"""Calls between services without the calls one by one: rates, work, waits, failures and how long requests take.

In each part of a step rates go from callers to callees, with the retries of what failed in the part before; services
work off what has come, as far as they can; and answers go back: cumulants of sums of times add up, so that a request's
latency has its mean, variance and skewness.
"""

from __future__ import annotations

import math

import numpy as np

from simulator.compiled import inlined
from simulator.flow.draws import NOISE, deviate_of, service_key
from simulator.flow.graph import NO_SERVICE
from simulator.flow.tails import time_exceeds, time_p95

_MOST_SERVED = 10.0
_HIGHEST_LOAD = 0.97
_DEVIATIONS = 6.0
_CALLS, _WORK = range(2)


@inlined
def _attempts(graph, e, lost, calls, span):
    """Attempts of a call on average where so many are lost and ``calls`` are made in a part of a step."""
    if lost <= 0.0 or graph.attempts[e] <= 1.0:
        return 1.0
    most = graph.attempts[e]
    more = most - 1.0 if lost >= 1.0 else lost * (1.0 - lost ** (most - 1.0)) / (1.0 - lost)
    if graph.retry_ratio[e] < np.inf:
        more = min(more, graph.retry_ratio[e] + graph.retries_per_second[e] * span / max(calls, 1.0))
    return 1.0 + more


@inlined
def propagate(graph, flows, n, requests, span):
    """How many calls come to each operation and each service in a part of a step."""
    calls, demand = flows.calls[n], flows.demand[n]
    for s in range(demand.shape[0]):
        demand[s, _CALLS] = demand[s, _WORK] = 0.0
    for o in range(len(calls)):
        calls[o] = requests * graph.share[o] if o < len(graph.share) else 0.0
    for o in range(len(calls)):
        made = calls[o]
        s = graph.service[o]
        if s != NO_SERVICE:
            demand[s, _CALLS] += made
            demand[s, _WORK] += made * graph.work[o, 0]
            made *= flows.served[n, s]
        for e in range(graph.first[o], graph.first[o + 1]):
            asked = made * graph.count[e] * graph.probability[e]
            calls[graph.callee[e]] += asked * _attempts(graph, e, flows.lost[n, e], asked, span)


@inlined
def _find_extra(stations, flows, n, s, pods, load, stretch):
    """What calls take beside their work, by pods and load."""
    row = math.log(max(pods, 1.0))
    grid, loads = stations.pods, stations.loads
    p = 0
    while p < len(grid) - 2 and row > grid[p + 1]:
        p += 1
    u = 0
    while u < len(loads) - 2 and load > loads[u + 1]:
        u += 1
    down = min((row - grid[p]) / (grid[p + 1] - grid[p]), 1.0)
    right = max((min(load, _HIGHEST_LOAD) - loads[u]) / (loads[u + 1] - loads[u]), 0.0)
    power = 1.0
    for k in range(3):
        power *= stretch
        upper = stations.extra[s, p, u, k] + right * (
            stations.extra[s, p, u + 1, k] - stations.extra[s, p, u, k]
        )
        lower = stations.extra[s, p + 1, u, k] + right * (
            stations.extra[s, p + 1, u + 1, k] - stations.extra[s, p + 1, u, k]
        )
        flows.extra[n, s, k] = (upper + down * (lower - upper)) * power


@inlined
def serve_calls(stations, world, state, flows, happened, n, s, requests, span, key):
    """Let a service work for a part of a step.

    Args:
        requests: those expected, and those that came.
    """
    mean_requests, came = requests
    stretch = world.mean_seconds[n, s] / stations.mean_seconds[s]
    calls, expected_work = flows.demand[n, s, _CALLS], flows.demand[n, s, _WORK] * stretch
    deviation = stretch * math.sqrt(came * stations.request_variance[s] * world.scv[n, s])
    work = max(expected_work + deviation * deviate_of(service_key(key, s), NOISE), 0.0)
    per_call = expected_work / calls if calls > 0.0 else world.mean_seconds[n, s]
    pods = np.float64(state.ready[n, s])
    capacity = pods * world.slots[n, s] * stations.units[s] * span
    if flows.held_seconds[n, s] > 0.0 and stations.slots[s] < np.inf:
        capacity = min(capacity, pods * stations.slots[s] * span / flows.held_seconds[n, s] * per_call)
    before = state.backlog[n, s]
    busy = min(before + work, capacity)
    after = before + work - busy
    most = stations.room[s] * pods * per_call
    turned_away = 0.0
    if after > most:
        turned_away = min((after - most) / max(work, 1e-12), 1.0)
        after = most
    state.backlog[n, s] = after
    flows.turned_away[n, s] = turned_away
    flows.served[n, s] = min(busy / work, _MOST_SERVED) if work > 0.0 else 1.0
    flows.wait_seconds[n, s] = 0.5 * (before + after) * span / capacity if capacity > 0.0 else span
    flows.busy[n, s] = busy
    flows.offered[n, s] += calls
    load = expected_work / capacity if capacity > 0.0 else 1.0
    if came > 0.0:
        load *= mean_requests / came
    _find_extra(stations, flows, n, s, pods, load, stretch * 0.5 * (1.0 + world.scv[n, s]))
    happened.waiting_seconds[n, s] += 0.5 * (before + after) / per_call * span
    happened.dropped[n, s] += turned_away * calls


@inlined
def _answer_call(graph, stations, flows, n, e, calls, span):
    """What a call means for its caller: cumulants of the time it takes, and the share that fails in the end."""
    o = graph.callee[e]
    first, second, third = flows.response[n, o]
    first += graph.network_seconds[e]
    lost, most = flows.failing[n, o], graph.timeout_seconds[e]
    if first + _DEVIATIONS * math.sqrt(second) > most:
        late = time_exceeds(stations.survival, first, second, third, most)
        lost = 1.0 - (1.0 - lost) * (1.0 - late)
        if first >= most:
            first, second, third = most, 0.0, 0.0
    flows.lost[n, e] = lost
    failed = lost
    if lost > 0.0 and graph.attempts[e] > 1.0:
        attempts = _attempts(graph, e, lost, calls * graph.count[e] * graph.probability[e], span)
        failed = max(1.0 - (1.0 - lost) * attempts, 0.0)
        first += (attempts - 1.0) * (min(first, most) + graph.back_off_seconds[e])
    chance, count = graph.probability[e], graph.count[e]
    if chance < 1.0:
        square = second + first * first
        cube = third + 3.0 * first * second + first**3
        mean = chance * first
        second = chance * square - mean * mean
        third = chance * cube - 3.0 * mean * chance * square + 2.0 * mean**3
        first = mean
    if count > 1.0:
        if graph.at_once[e]:
            first += math.sqrt(second * 2.0 * math.log(count))
        else:
            first, second, third = count * first, count * second, count * third
    if graph.optional[e]:
        return first, second, third, 0.0
    return first, second, third, 1.0 - (1.0 - failed) ** (count * chance)


@inlined
def answer(graph, stations, world, flows, happened, n, requests, span):
    """How long the calls of a part of a step take and how many fail, callees first; and requests that are late."""
    for s in range(flows.held_seconds.shape[1]):
        flows.held_seconds[n, s] = 0.0
    classes = len(graph.share)
    for o in range(len(graph.service) - 1, -1, -1):
        s = graph.service[o]
        first = second = third = kept = wait = 0.0
        if s != NO_SERVICE:
            stretch = world.mean_seconds[n, s] / stations.mean_seconds[s]
            wait, spread = flows.wait_seconds[n, s], world.scv[n, s]
            first = graph.work[o, 0] * stretch + flows.extra[n, s, 0] + wait
            second = graph.work[o, 1] * stretch**2 * spread + flows.extra[n, s, 1]
            third = graph.work[o, 2] * stretch**3 * spread * spread + flows.extra[n, s, 2]
            kept = flows.turned_away[n, s]
        works = 1.0 - kept
        made = flows.calls[n, o]
        step, longest, variance, skew = -1, 0.0, 0.0, 0.0
        for e in range(graph.first[o], graph.first[o + 1]):
            mean, square, cube, failed = _answer_call(graph, stations, flows, n, e, made, span)
            works *= 1.0 - failed
            if graph.step[e] != step:
                first, second, third = first + longest, second + variance, third + skew
                step, longest, variance, skew = graph.step[e], mean, square, cube
            elif mean > longest:
                longest, variance, skew = mean, square, cube
        first, second, third = first + longest, second + variance, third + skew
        flows.response[n, o, 0] = first
        flows.response[n, o, 1] = second
        flows.response[n, o, 2] = third
        flows.failing[n, o] = 1.0 - works
        if s != NO_SERVICE:
            if flows.demand[n, s, _CALLS] > 0.0:
                flows.held_seconds[n, s] += made / flows.demand[n, s, _CALLS] * (first - wait)
        elif o < classes:
            slow = time_exceeds(stations.survival, first, second, third, world.slo_seconds[n])
            happened.late[n] += requests * graph.share[o] * (1.0 - works * (1.0 - slow))


@inlined
def show_calls(graph, stations, world, state, flows, n, s):
    """Calls that wait at a service, and the 95th percentile of how long its calls take."""
    first = second = third = 0.0
    calls = flows.demand[n, s, _CALLS]
    if calls <= 0.0:
        return 0.0, np.nan
    for o in range(len(graph.share), len(graph.service)):
        if graph.service[o] == s:
            weight = flows.calls[n, o] / calls
            first += weight * flows.response[n, o, 0]
            second += weight * flows.response[n, o, 1]
            third += weight * flows.response[n, o, 2]
    waiting = state.backlog[n, s] / world.mean_seconds[n, s]
    if stations.slots[s] < np.inf:
        waiting = max(waiting - stations.slots[s] * state.ready[n, s], 0.0)
    return np.rint(waiting), time_p95(stations.p95, first, second, third)
