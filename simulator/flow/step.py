"""A cluster's control step without its requests one by one."""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined, kernel
from simulator.flow.answers import answer, show_calls
from simulator.flow.beginning import begin_step, clear_step
from simulator.flow.calls import begin_calls, divert_calls, limit_calls, serve_calls
from simulator.flow.cohorts import foresee, remove_pods, start_cohort
from simulator.flow.draws import ARRIVALS, expected, level_factor, part_key, poisson, service_key
from simulator.flow.few import serve_few
from simulator.flow.queue import latency_p95, serve
from simulator.flow.readings import is_read, read, see_one
from simulator.flow.tables import BUSY, CAPACITY, DONE, LEFT, OFFERED


@inlined
def _change_cohorts(clock, world, state, happened, n):
    """Create and remove pods, and pay for those that are there."""
    first = part_key(world.key[n], state.step[n] * clock.parts)
    for s in range(state.wanted.shape[1]):
        change = state.wanted[n, s] - state.ready[n, s] - state.starting[n, s]
        key = service_key(first, s)
        gone = 0
        if change > 0:
            start_cohort(world, state, n, s, change, key)
        else:
            cohort = state.cohorts[n, state.step[n] % state.cohorts.shape[1], s]
            cohort[LEFT] = cohort[DONE] = 0.0
            if change < 0:
                gone = remove_pods(clock, world, state, n, s, -change, key)
        foresee(clock, world, state, n, s)
        alive = state.ready[n, s] + state.starting[n, s]
        seconds = alive * clock.period_seconds + gone * world.drain_seconds[n, s]
        happened.started[n, s] = max(change, 0)
        happened.pod_seconds[n, s] = seconds
        happened.usd[n, s] = seconds * world.usd_per_second[n, s]


@inlined
def _come_and_go(clock, world, state, shifts, n, part):
    """Let pods become ready in a part of a step: as was foreseen, or as the pods' shifts say, which are remembered."""
    number = state.step[n] * clock.parts + part
    for s in range(state.wanted.shape[1]):
        if len(shifts.ready):
            state.ready[n, s] = shifts.ready[n, part, s]
            state.pace[n, s] = shifts.pace[n, part, s]
            if len(shifts.cpu_share):
                state.cpu_share[n, s] = shifts.cpu_share[n, part, s]
            state.history[n, number % state.history.shape[1], s] = state.ready[n, s]
        else:
            ready = np.int64(state.history[n, number % state.history.shape[1], s])
            state.starting[n, s] -= ready - state.ready[n, s]
            state.ready[n, s] = ready


@inlined
def _begin(clock, hazards, world, state, shifts, happened, n):
    """Begin a step, but where that has been done with the pods' shifts."""
    if not len(shifts.ready):
        clear_step(happened, n)
        begin_step(clock, hazards, world, state, n)
        _change_cohorts(clock, world, state, happened, n)


@inlined
def _clusters(begin, end):
    """From the one to before the other; none is counted from the end, which the compiler cannot know by itself."""
    return range(max(begin, 0), end)


@inlined
def _look_ahead(begin, end, parts, clock, loads, world, state):
    """Requests expected until each edge of the parts: of all clusters at once, so that waits for memory overlap."""
    span = clock.period_seconds / clock.parts
    for part in range(parts[0], parts[1] + 1):
        for n in _clusters(begin, end):
            seconds = world.load_begin_seconds[n] + (state.step[n] * clock.parts + part) * span
            state.expected[n, part] = expected(loads, world.load[n], seconds)


@inlined
def _requests(clock, loads, world, state, n, part, key):
    """Requests expected in a part of a step, and those that come."""
    span = clock.period_seconds / clock.parts
    begin, end = state.expected[n, part], state.expected[n, part + 1]
    if loads.dispersion == 0.0:
        start = expected(loads, world.load[n], world.load_begin_seconds[n])
        scale = world.load_scale[n]
        return scale * (end - begin), _evenly(scale * (end - start)) - _evenly(scale * (begin - start))
    now = (state.step[n] * clock.parts + part) * span
    mean = world.load_scale[n] * (end - begin) * level_factor(loads, world, state, n, now, span)
    return mean, poisson(key, ARRIVALS, mean)


@inlined
def _evenly(mean):
    """Requests so far that come evenly: the n-th when n - 1/2 are expected."""
    return np.floor(mean + 0.5)


@inlined
def _count(state, happened, n, s, gains):
    """Add what OFFERED, BUSY and CAPACITY grow by."""
    offered, busy, capacity = gains
    happened.busy_seconds[n, s] += busy
    happened.capacity_seconds[n, s] += capacity
    state.totals[n, s, OFFERED] += offered
    state.totals[n, s, BUSY] += busy
    state.totals[n, s, CAPACITY] += capacity


@inlined
def _advance_queue(parts, clock, loads, hazards, laws, world, state, shifts, happened, n):
    """Let parts of a control step of a cluster of one queue happen."""
    first = state.step[n] * clock.parts
    span = clock.period_seconds / clock.parts
    _begin(clock, hazards, world, state, shifts, happened, n)
    late, offered = happened.late[n], happened.offered[n, 0]
    for part in range(parts[0], parts[1]):
        begin = (first + part) * span
        key = part_key(world.key[n], first + part)
        mean, calls = _requests(clock, loads, world, state, n, part, key)
        happened.requests[n] += np.int64(calls)
        _come_and_go(clock, world, state, shifts, n, part)
        number, what = first + part, (world, state, happened)
        if clock.by_call:
            busy, capacity = serve_few(laws, *what, n, 0, calls, span, number, key)
        else:
            busy, capacity = serve(loads, laws, *what, n, 0, (mean, calls), span, number, key)
        gains = calls, busy, capacity
        if is_read(clock, world, n, begin, span):
            work = world.mean_seconds[n, 0] / (state.cpu_share[n, 0] * state.pace[n, 0])
            latency = latency_p95(laws, world.law[n, 0], work, state.waits[n, 0], state.counts[n, 0])
            latency += state.delay_seconds[n, 0]
            shown = np.rint(state.backlog[n, 0] / work), latency
            read(clock, world, state, n, 0, (begin, span), gains, shown, key)
        happened.offered[n, 0] += np.int64(calls)
        _count(state, happened, n, 0, gains)
    if len(shifts.failing):
        works = happened.offered[n, 0] - offered - (happened.late[n] - late)
        happened.late[n] += np.mean(shifts.failing[n, parts[0] : parts[1], 0]) * works
    state.step[n] += np.int64(parts[1] == clock.parts)


@inlined
def _advance_graph(
    parts, clock, loads, hazards, graph, stations, world, state, shifts, flows, traffic, happened, n
):
    """Let parts of a control step of a cluster of services that call each other happen."""
    first = state.step[n] * clock.parts
    span = clock.period_seconds / clock.parts
    services = state.wanted.shape[1]
    _begin(clock, hazards, world, state, shifts, happened, n)
    if parts[0] == 0:
        flows.expired[n] = 0.0
    for part in range(parts[0], parts[1]):
        begin = (first + part) * span
        key = part_key(world.key[n], first + part)
        mean, requests = _requests(clock, loads, world, state, n, part, key)
        happened.requests[n] += np.int64(requests)
        _come_and_go(clock, world, state, shifts, n, part)
        divert_calls(stations, state, flows, n, span)
        limit_calls(stations, world, state, flows, traffic, n, span)
        begin_calls(graph, stations, flows, traffic, n, requests, span)
        came = requests, mean / requests if requests > 0.0 else 1.0
        for place in range(services):
            serve_calls(graph, stations, world, state, flows, traffic, happened, n, place, came, span, key)
        answer(graph, stations, world, state, shifts, flows, traffic, happened, n, part, requests, span)
        due = is_read(clock, world, n, begin, span)
        for place in range(services):
            s = graph.order[place]
            gains = traffic.demand[s], traffic.busy[s], state.ready[n, s] * world.slots[n, s] * span
            if due:
                shown = show_calls(graph, stations, world, state, traffic, n, place)
                read(clock, world, state, n, s, (begin, span), gains, shown, service_key(key, s))
            _count(state, happened, n, s, gains)
    if parts[1] == clock.parts:
        for s in range(services):
            happened.offered[n, s] = np.int64(np.rint(flows.offered[n, s]))
            flows.offered[n, s] -= happened.offered[n, s]
        state.step[n] += 1


@kernel
def advance(begin, end, parts, clock, loads, hazards, laws, world, state, shifts, happened, seen):
    """Let parts of a control step of clusters ``begin`` to ``end`` of one queue happen, and show what is seen.

    Args:
        parts: the first one and the end; all of them, but where pods are looked at one by one.
        shifts: of the pods in this step where they are looked at one by one; then the step has begun.
    """
    _look_ahead(begin, end, parts, clock, loads, world, state)
    for n in _clusters(begin, end):
        _advance_queue(parts, clock, loads, hazards, laws, world, state, shifts, happened, n)
        if parts[1] == clock.parts:
            see_one(clock, world, state, seen, n)


@kernel
def advance_graph(
    begin,
    end,
    parts,
    clock,
    loads,
    hazards,
    graph,
    stations,
    world,
    state,
    shifts,
    flows,
    traffic,
    happened,
    seen,
):
    """The same of clusters of services that call each other."""
    _look_ahead(begin, end, parts, clock, loads, world, state)
    for n in _clusters(begin, end):
        _advance_graph(
            parts, clock, loads, hazards, graph, stations, world, state, shifts, flows, traffic, happened, n
        )
        if parts[1] == clock.parts:
            see_one(clock, world, state, seen, n)
