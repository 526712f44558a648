"""Calls between services without the calls one by one: rates, work and waits.

In each part of a step rates go from callers to callees, with the retries of what failed in the part before, and
services work off what has come, as far as they can.
"""

from __future__ import annotations

import math

import numpy as np

from simulator.compiled import inlined
from simulator.flow.attempts import attempts_of
from simulator.flow.draws import NOISE, deviate_of, service_key
from simulator.flow.graph import NEVER_SECONDS, NO_SERVICE
from simulator.flow.overload import turn_away, work_off
from simulator.flow.slots import HIGHEST_LOAD, slots_share, wait_for_slot

_MEMORY = 1.7
"""How many calls' times it takes until a pod that works in batches has forgotten whether it was busy; measured."""


@inlined
def limit_calls(stations, world, state, flows, traffic, n, span):
    """How many calls each service can work on in a part of a step, callees first.

    A caller that holds slots cannot have more calls at a callee than it has slots: it goes on as the callee does, or
    as it gives up.
    """
    per_second = 1.0 / span
    for s in range(len(traffic.most)):
        pace = state.cpu_share[n, s] * state.pace[n, s] * world.slots[n, s] * stations.units[s]
        mean_seconds = world.mean_seconds[n, s]
        traffic.kept_full[s] = False
        traffic.waits_for[s] = NO_SERVICE
        traffic.full[s] = pace * state.ready[n, s] * span
        share = slots_share(stations, flows, n, s, pace / mean_seconds)
        traffic.most[s] = traffic.full[s] * share / mean_seconds
    for k in range(len(stations.pairs)):
        s, callee = stations.pairs[k]
        if stations.slots[s] < np.inf:
            calls = stations.pair_calls[k]
            if flows.tried.shape[1] and flows.tried[n, k, 0] > 0.0:
                calls *= flows.tried[n, k, 1] / flows.tried[n, k, 0]
            there = traffic.most[callee]
            working = there * per_second * (world.mean_seconds[n, s] + world.mean_seconds[n, callee])
            if state.backlog[n, callee] > 0.0:
                there -= state.backlog[n, callee] / world.mean_seconds[n, callee]
            slots = state.ready[n, s] * stations.slots[s]
            waiting = max(slots * stations.pair_at_once[k] - working, 0.0)
            if there + waiting < traffic.most[s] * calls:
                given_up = slots * span / (world.mean_seconds[n, s] + stations.pair_patience[k])
                room = max((waiting + there) / calls, given_up)
                if room < traffic.most[s]:
                    traffic.most[s] = max(room, 0.0)
                    traffic.waits_for[s] = callee


@inlined
def divert_calls(stations, state, flows, n, span):
    """Let calls go to their fallbacks where a service has had no ready pod for so long, and come back likewise.

    One that sleeps is well.
    """
    for s in range(flows.diverted.shape[1]):
        sleeps = state.wanted[n, s] == 0 and stations.cold_seconds[s] < NEVER_SECONDS
        is_wrong = (state.ready[n, s] > 0 or sleeps) == flows.diverted[n, s]
        flows.against_seconds[n, s] = flows.against_seconds[n, s] + span if is_wrong else 0.0
        if flows.against_seconds[n, s] >= stations.patience_seconds[s]:
            flows.diverted[n, s] = not flows.diverted[n, s]
            flows.against_seconds[n, s] = 0.0


@inlined
def callee_of(graph, flows, n, e):
    """The operation that a call goes to now."""
    callee, fallback = graph.callee[e], graph.fallback[e]
    return fallback if fallback != callee and flows.diverted[n, graph.service[callee]] else callee


@inlined
def begin_calls(graph, stations, flows, traffic, n, requests, span):
    """Let clients' requests come."""
    calls = traffic.calls
    for o in range(len(calls)):
        calls[o] = requests * graph.share[o] if o < len(graph.share) else 0.0
        if len(traffic.wanted):
            traffic.wanted[o] = 0.0
        if len(stations.log_shed):
            traffic.fresh[o] = 0.0
    for o in range(len(graph.share)):
        _call(graph, stations, flows, traffic, n, o, calls[o], span)


@inlined
def _call(graph, stations, flows, traffic, n, o, made, span):
    """Make the calls of an operation."""
    for e in range(graph.first[o], graph.first[o + 1]):
        asked = made * graph.times[e] * graph.probability[e]
        called = callee_of(graph, flows, n, e)
        attempts, fresh = attempts_of(graph, stations, flows, n, e, called, asked, span)
        attempts *= asked
        traffic.calls[called] += attempts
        if len(stations.log_shed):
            traffic.fresh[called] += asked * fresh
        if len(traffic.wanted) and attempts > 0.0:
            traffic.wanted[called] += attempts * graph.timeout_seconds[e]


@inlined
def _find_place(stations, pods, load):
    """Where so many pods and such a load stand in the tables of what was measured: row, column and what is beyond."""
    load = min(load, HIGHEST_LOAD)
    column = stations.columns[np.int64(load * len(stations.columns))]
    beyond = (1.0 / (1.0 - load) - stations.stress[column]) * stations.per_stress[column]
    return min(pods, stations.extra.shape[1] - 1), column, max(beyond, 0.0)


@inlined
def _at(table, place):
    """A value between those of a table."""
    row, column, beyond = place
    return table[row, column] + beyond * (table[row, column + 1] - table[row, column])


@inlined
def _fullness(stations, share, s):
    """Where a share of the CPU that a pod may use is: 0 is all of it, 1 what it requests; by its inverse."""
    if not len(stations.least_extra) or stations.units[s] <= 1.0:
        return 0.0
    return min(max((1.0 / max(share, 1e-6) - 1.0) / (stations.units[s] - 1.0), 0.0), 1.0)


@inlined
def _root_at(extra, lane, place, k):
    """The root of a cumulant between those of a table."""
    row, column, beyond = place
    here = extra[lane, row, column, k]
    return here + beyond * (extra[lane, row, column + 1, k] - here)


@inlined
def _find_extra(stations, traffic, lane, place, stretch, fullness):
    """What a lane's calls take beside their work, and what is shed."""
    for k in range(3):
        root = _root_at(stations.extra, lane, place, k)
        if len(stations.least_extra):
            root += fullness * (_root_at(stations.least_extra, lane, place, k) - root)
        root *= stretch
        traffic.extra[lane, k] = root if k == 0 else root * root if k == 1 else root * root * root
    if len(stations.log_shed):
        traffic.shed[lane] = min(math.exp(_at(stations.log_shed[lane], place)), 1.0)


@inlined
def _busy_share(effort, parts, pods, deviate):
    """Share of the time that pods work at least on one call, where a call takes so many parts of a step."""
    share = 1.0 - math.exp(-effort)
    share += math.sqrt(share * (1.0 - share) * min(_MEMORY * parts, 1.0) / max(pods, 1.0)) * deviate
    return min(max(share, 0.0), 1.0)


@inlined
def _find_capacity(stations, state, flows, traffic, n, s, work, span):
    """Work that a service can do in a part of a step, its load if slots are not what is short, and waits for these.

    Args:
        work: that comes, and that of a call.
    """
    expected, per_call = work
    full, pods = traffic.full[s], np.float64(state.ready[n, s])
    traffic.slot_wait[s, :] = 0.0
    if full <= 0.0:
        return full, 1.0
    capacity = full * slots_share(stations, flows, n, s, full / (per_call * pods * span))
    if traffic.waits_for[s] != NO_SERVICE:
        capacity = min(capacity, traffic.most[s] * per_call)
    if flows.away_seconds[n, s] > 0.0 and stations.slots[s] < np.inf and capacity > 0.0:
        wait_for_slot(stations, flows, traffic, n, s, pods, expected, (capacity, full), per_call * span)
    return capacity, expected / full


@inlined
def _take_in(graph, stations, world, flows, traffic, n, s, lanes, came, key):
    """Find the work that comes to each of a service's lanes, with its noise.

    Returns:
        How much longer than usual work takes; the calls, the work expected of them and what has come of it, and the
        work of a call of all that are there.
    """
    first, last = lanes
    stretch = world.mean_seconds[n, s] / stations.mean_seconds[s]
    calls = expected_work = there = work_there = 0.0
    for lane in range(first, last):
        traffic.work[lane] = 0.0
        for o in range(graph.begins[lane], graph.begins[lane + 1]):
            calls += traffic.calls[o]
            traffic.work[lane] += traffic.calls[o] * graph.work[o, 0] * stretch
            there += traffic.calls[o] + flows.waiting[n, o]
            work_there += (traffic.calls[o] + flows.waiting[n, o]) * graph.work[o, 0] * stretch
        expected_work += traffic.work[lane]
    deviation = stretch * math.sqrt(came * stations.request_variance[s] * world.scv[n, s])
    noise = 1.0
    if not traffic.kept_full[s] and expected_work > 0.0:
        noise = max(1.0 + deviation / expected_work * deviate_of(service_key(key, s), NOISE), 0.0)
    for lane in range(first, last):
        traffic.work[lane] *= noise
    per_call = work_there / there if there > 0.0 else world.mean_seconds[n, s]
    return stretch, calls, expected_work, expected_work * noise, per_call


@inlined
def serve_calls(graph, stations, world, state, flows, traffic, happened, n, place, requests, span, key):
    """Let the service at a place of the order work for a part of a step, and make its calls.

    Args:
        requests: those that came, and those expected for each of them.
    """
    came, usual = requests
    s = graph.order[place]
    first, last = graph.lanes[place], graph.lanes[place + 1]
    stretch, calls, expected_work, new, per_call = _take_in(
        graph, stations, world, flows, traffic, n, s, (first, last), came, key
    )
    pods, pace = np.float64(state.ready[n, s]), state.pace[n, s]
    work = usual * expected_work, per_call
    capacity, load = _find_capacity(stations, state, flows, traffic, n, s, work, span)
    point = _find_place(stations, state.ready[n, s], load)
    fullness = _fullness(stations, state.cpu_share[n, s], s)
    traffic.slowness[s] = stretch / pace
    longer = stations.bunching[s] * traffic.slowness[s] * 0.5 * (1.0 + world.scv[n, s])
    for lane in range(first, last):
        _find_extra(stations, traffic, lane, point, longer, fullness)
    before = state.backlog[n, s]
    if before + new > capacity and traffic.waits_for[s] != NO_SERVICE:
        traffic.kept_full[traffic.waits_for[s]] = True
    room = stations.room[s] * pods * per_call
    fresh = 1.0
    if len(stations.log_shed) and calls > 0.0:
        fresh = traffic.fresh[graph.begins[first] : graph.begins[last]].sum() / calls
    goes_round = turn_away(stations, flows, traffic, n, s, (first, last), (room, fresh), capacity, span)
    left, after = capacity, 0.0
    for lane in range(first, last):
        left = _serve_lane(
            graph, stations, flows, traffic, happened, n, s, lane, stretch, (capacity, left), span
        )
        after += flows.backlog[n, lane]
        if len(stations.log_shed):
            traffic.wait_variance[lane] = traffic.wait_seconds[lane] ** 2 / 3.0 if goes_round else 0.0
    busy = capacity - left
    state.backlog[n, s] = after
    traffic.demand[s] = calls
    flows.offered[n, s] += calls
    if stations.in_batches[s] and after == 0.0:
        deviate = deviate_of(service_key(key, s), NOISE)
        share = _busy_share(
            _at(stations.effort[s], point) * load,
            (per_call + traffic.extra[first, 0]) / span,
            pods,
            deviate,
        )
        busy = capacity * share
    traffic.busy[s] = busy / pace
    if before + after > 0.0:
        happened.waiting_seconds[n, s] += 0.5 * (before + after) / per_call * span


@inlined
def _serve_lane(graph, stations, flows, traffic, happened, n, s, lane, stretch, capacities, span):
    """Let the calls of one priority at a service be worked on, and make theirs; what is left of the capacity."""
    alive = np.inf
    if len(stations.discards) and stations.discards[s]:
        alive = 0.0
        for o in range(graph.begins[lane], graph.begins[lane + 1]):
            alive += traffic.wanted[o] * graph.work[o, 0] * stretch / span
    waits = alive, stations.cold_seconds[s]
    left, done, stays, expired = work_off(flows, traffic, n, lane, waits, capacities, span)
    for o in range(graph.begins[lane], graph.begins[lane + 1]):
        away = flows.turned_away[n, lane] * traffic.calls[o]
        happened.dropped[n, s] += away
        there = traffic.calls[o] - away + flows.waiting[n, o]
        flows.waiting[n, o] = there * stays
        if len(stations.discards):
            flows.expired[n, s] += there * expired
        _call(graph, stations, flows, traffic, n, o, there * done, span)
    return left
