"""Answers of services that call each other: how long calls take, how many fail, and which requests are late.

They go back from callees to callers: cumulants of sums of times add up, so that a request's latency has its mean,
variance and skewness. A response is the first three cumulants of how long a call takes; how much of the third is of
times with a lognormal's tail; and the first without waits for backlogs.
"""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined
from simulator.flow.at_once import longer, longest_copy
from simulator.flow.attempts import attempts_of
from simulator.flow.calls import callee_of
from simulator.flow.graph import NO_SERVICE
from simulator.flow.tails import time_exceeds, time_p95

_FAR_SQUARE = 6.0**2
"""Nothing is late whose time-out is so many variances, squared, beyond the mean."""


@inlined
def _answer_call(graph, stations, flows, traffic, n, e, calls, span):
    """What a call means for its caller: the time it takes, as a response, and the share that fails in the end."""
    o = callee_of(graph, flows, n, e)
    first, second, third, heavy, calm = traffic.response[o]
    network = graph.network_seconds[e, np.int64(o != graph.callee[e])]
    first += network
    calm += network
    failing, most, late = traffic.failing[o], graph.timeout_seconds[e], 0.0
    if first >= most or _FAR_SQUARE * second > (most - first) ** 2:
        late = time_exceeds(stations.survival, first, second, third, heavy, most)
        if first >= most:
            first, second, third, heavy = most, 0.0, 0.0, 0.0
    calm = min(calm, most)
    lost = 1.0 - (1.0 - failing) * (1.0 - late)
    flows.lost[n, e] = lost
    failed, attempts = lost, 1.0
    asked = calls * graph.times[e] * graph.probability[e]
    if lost > 0.0 and graph.attempts[e] > 1.0:
        attempts, _ = attempts_of(graph, stations, flows, n, e, o, asked, span)
        failed = max(1.0 - (1.0 - lost) * attempts, 0.0)
        away = min(flows.turned_away[n, graph.lane[o]], failing)
        again = away * network + (failing - away) * min(first, most)
        if late > 0.0:
            again += (1.0 - failing) * late * most
        again = again / lost + graph.back_off_seconds[e]
        first += (attempts - 1.0) * again
        second += (attempts - 1.0) * again**2
        third += (attempts - 1.0) * again**3
    if flows.tried.shape[1] and stations.pair_of[e] >= 0:
        flows.tried[n, stations.pair_of[e], 0] += asked
        flows.tried[n, stations.pair_of[e], 1] += asked * attempts
    chance, count = graph.probability[e], graph.times[e]
    if chance < 1.0:
        square = second + first * first
        cube = third + 3.0 * first * second + first**3
        mean = chance * first
        second = chance * square - mean * mean
        heavy = heavy / max(third, 1e-300)
        third = chance * cube - 3.0 * mean * chance * square + 2.0 * mean**3
        heavy *= third
        first, calm = mean, chance * calm
    answered = first, second, third, heavy, calm
    if count > 1.0:
        if graph.at_once[e]:
            answered = longest_copy(answered, graph.largest[e])
        else:
            answered = count * first, count * second, count * third, count * heavy, count * calm
    if graph.optional[e] or failed <= 0.0:
        return answered, 0.0
    return answered, 1.0 - (1.0 - failed) ** (count * chance)


@inlined
def _own_time(graph, stations, world, state, shifts, flows, traffic, n, part, o):
    """How long a call of a service's operation takes without the calls that it makes, as a response."""
    s, lane = graph.service[o], graph.lane[o]
    stretch = traffic.slowness[s]
    spread = world.scv[n, s]
    for_slot = traffic.slot_wait[s]
    work = graph.work[o, 0] * stretch
    if stations.own_pace[s]:
        work /= state.cpu_share[n, s]
    calm = work + traffic.extra[lane, 0] + for_slot[0] + state.delay_seconds[n, s]
    second = graph.work[o, 1] * stretch**2 * spread + traffic.extra[lane, 1] + for_slot[1]
    if len(stations.log_shed):
        second += traffic.wait_variance[lane]
    third = graph.work[o, 2] * stretch**3 * spread * spread
    heavy = graph.heaviness[o] * (third + traffic.extra[lane, 2] * stations.shares_pace[s])
    third += traffic.extra[lane, 2] + for_slot[2]
    waits = traffic.wait_seconds[lane] - for_slot[0]
    if not stations.shares_pace[s]:
        waits -= traffic.extra[lane, 0]
        if waits > 0.0 and state.ready[n, s] > 0:
            share = waits / traffic.wait_seconds[lane]
            between = world.mean_seconds[n, s] / (state.ready[n, s] * world.slots[n, s])
            if stations.own_pace[s]:
                between /= state.cpu_share[n, s]
            waiting = traffic.extra[lane, 1] + for_slot[1]
            second += share * (traffic.wait_seconds[lane] * between - waiting)
            third -= share * (traffic.extra[lane, 2] + for_slot[2])
    waits = max(waits, 0.0)
    if len(shifts.delay):
        delay = shifts.delay[n, part, s]
        calm, second, third = calm + delay[0], second + delay[1], third + delay[2]
    return calm + waits, second, third, heavy, calm


@inlined
def _after(one, other):
    """The response of what is done one after the other."""
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3], one[4] + other[4]


@inlined
def answer(graph, stations, world, state, shifts, flows, traffic, happened, n, part, requests, span):
    """How long the calls of a part of a step take and how many fail, callees first; and requests that are late."""
    for s in range(flows.away_seconds.shape[1]):
        flows.away_seconds[n, s] = flows.away_variance[n, s] = 0.0
    flows.tried[n, :, :] = 0.0
    classes = len(graph.share)
    for o in range(len(graph.service) - 1, -1, -1):
        s = graph.service[o]
        taken, works = (0.0, 0.0, 0.0, 0.0, 0.0), 1.0
        if s != NO_SERVICE:
            taken = _own_time(graph, stations, world, state, shifts, flows, traffic, n, part, o)
            works -= flows.turned_away[n, graph.lane[o]]
            if len(shifts.failing):
                works *= 1.0 - shifts.failing[n, part, s]
        own, made = taken, traffic.calls[o]
        step, longest = -1, (0.0, 0.0, 0.0, 0.0, 0.0)
        for e in range(graph.first[o], graph.first[o + 1]):
            answered, failed = _answer_call(graph, stations, flows, traffic, n, e, made, span)
            works *= 1.0 - failed
            if graph.step[e] != step:
                taken, longest, step = _after(taken, longest), answered, graph.step[e]
            else:
                longest = longer(longest, answered)
        first, second, third, heavy, calm = _after(taken, longest)
        traffic.response[o, 0] = first
        traffic.response[o, 1] = second
        traffic.response[o, 2] = third
        traffic.response[o, 3] = heavy
        traffic.response[o, 4] = calm
        traffic.failing[o] = 1.0 - works
        if s != NO_SERVICE:
            if traffic.demand[s] > 0.0:
                share = made / traffic.demand[s]
                flows.away_seconds[n, s] += share * (calm - own[4])
                flows.away_variance[n, s] += share * (second - own[1])
        elif o < classes:
            slow = time_exceeds(stations.survival, first, second, third, heavy, world.slo_seconds[n])
            happened.late[n] += requests * graph.share[o] * (1.0 - works * (1.0 - slow))


@inlined
def show_calls(graph, stations, world, state, traffic, n, place):
    """Calls that wait at the service at a place of the order, and the 95th percentile of how long its calls take."""
    s = graph.order[place]
    first = second = third = 0.0
    calls = traffic.demand[s]
    if calls <= 0.0 or state.ready[n, s] == 0:
        return np.rint(state.backlog[n, s] / world.mean_seconds[n, s]), np.nan
    for o in range(graph.begins[graph.lanes[place]], graph.begins[graph.lanes[place + 1]]):
        weight = traffic.calls[o] / calls
        first += weight * traffic.response[o, 0]
        second += weight * traffic.response[o, 1]
        third += weight * traffic.response[o, 2]
    waiting = state.backlog[n, s] / world.mean_seconds[n, s]
    if stations.slots[s] < np.inf:
        waiting = max(waiting - stations.slots[s] * state.ready[n, s], 0.0)
    return np.rint(waiting), time_p95(stations.p95, first, second, third)
