"""What is counted and shown of pods that are looked at one by one."""

from __future__ import annotations

import numpy as np

from simulator.compiled import called, inlined, kernel
from simulator.flow.fleet import (
    ALIVE,
    COUNTED,
    CREATED,
    DRAINING_POD,
    LOST,
    NO_POD,
    PHASE,
    POD_ROWS,
    READY_AT,
    READY_POD,
    SERVICE,
    SHOWN_DRAINING,
    SHOWN_READY,
    STARTED,
    UNTIL,
)
from simulator.flow.readings import CPU, blur, find_sample
from simulator.flow.tables import BUSY, CAPACITY, READY

_YOUNG_SECONDS = 300.0
"""--horizontal-pod-autoscaler-cpu-initialization-period."""


@called
def count_pods(site, world, state, fleet, happened, n, begin, span):
    """Count pods as they are in the middle of a part of a step, how fast they are, and what they cost."""
    middle = begin + 0.5 * span
    for s in range(state.wanted.shape[1]):
        state.ready[n, s] = 0
        state.pace[n, s] = 0.0
    for row in range(fleet.cluster[n, POD_ROWS]):
        s = fleet.pod[n, row, SERVICE]
        phase = fleet.pod[n, row, PHASE]
        ready = fleet.pod_when[n, row, READY_AT]
        if phase == READY_POD and ready <= middle:
            state.ready[n, s] += 1
            is_cold = ready > 0.0 and middle - ready < site.warm_seconds[s]
            state.pace[n, s] += site.cold_speed[s] if is_cold else 1.0
        elif phase in (LOST, NO_POD):
            continue
        alive = min(begin + span, fleet.pod_when[n, row, UNTIL]) - max(begin, fleet.pod_when[n, row, CREATED])
        happened.pod_seconds[n, s] += alive
        happened.usd[n, s] += alive * world.usd_per_second[n, s]
    fleet.cluster_when[n, COUNTED] = begin + span
    for s in range(state.wanted.shape[1]):
        ready = state.ready[n, s]
        state.pace[n, s] = state.pace[n, s] / ready if ready > 0 else 1.0


@called
def show_pods(state, fleet, n):
    """Count the pods that are shown: ready, on their way, draining."""
    for s in range(state.wanted.shape[1]):
        fleet.service[n, s, SHOWN_READY] = fleet.service[n, s, SHOWN_DRAINING] = 0
    for row in range(fleet.cluster[n, POD_ROWS]):
        s, phase = fleet.pod[n, row, SERVICE], fleet.pod[n, row, PHASE]
        if phase == DRAINING_POD:
            fleet.service[n, s, SHOWN_DRAINING] += 1
        elif phase in (READY_POD, LOST):
            fleet.service[n, s, SHOWN_READY] += 1
    for s in range(state.wanted.shape[1]):
        state.starting[n, s] = fleet.service[n, s, ALIVE] - fleet.service[n, s, SHOWN_READY]


@kernel
def see_burn(begin, end, site, clock, world, state, fleet, seen):
    """Add what pods that are ready now used of their CPU while they started, as far as the newest window holds it."""
    for n in range(begin, end):
        _see_burn(site, clock, world, state, fleet, seen, n)


@inlined
def _see_burn(site, clock, world, state, fleet, seen, n):
    newest, oldest = find_sample(clock, world, state, n)
    if newest < 0:
        return
    end = world.first_scrape_seconds[n] + newest * clock.scrape_seconds
    begin = world.first_scrape_seconds[n] + oldest * clock.scrape_seconds
    for s in range(state.wanted.shape[1]):
        if site.burn[s] == 0.0 or np.isnan(seen.cpu[n, s]):
            continue
        burnt, sampled = 0.0, 0
        for row in range(fleet.cluster[n, POD_ROWS]):
            is_one = fleet.pod[n, row, SERVICE] == s and fleet.pod[n, row, PHASE] == READY_POD
            if not is_one or fleet.pod_when[n, row, STARTED] > end:
                continue
            sampled += 1
            burnt += max(
                min(fleet.pod_when[n, row, READY_AT], end) - max(fleet.pod_when[n, row, STARTED], begin), 0.0
            )
        before, last = (
            state.readings[n, s, oldest % state.readings.shape[2]],
            state.readings[n, s, newest % state.readings.shape[2]],
        )
        if sampled == 0:
            continue
        seconds = end - begin
        capacity = max(last[READY] * world.slots[n, s] * seconds, last[CAPACITY] - before[CAPACITY])
        share = (last[BUSY] - before[BUSY]) / capacity if capacity > 0.0 else 0.0
        used = share * min(last[READY], np.float64(sampled)) + site.burn[s] * burnt / seconds
        seen.cpu[n, s] = used / sampled * blur(clock, world, n, s, newest, CPU, sampled)


@kernel
def sort_rows(begin, end, site, clock, milli, world, state, fleet, trusted):
    """Sort the pods of clusters ``begin`` to ``end`` as the HPA trusts them.

    Args:
        milli: float64 ``(S,)``; what a pod requests, thousandths.
    Source: kubernetes/kubernetes pkg/controller/podautoscaler/replica_calculator.go (groupPods).
    """
    kept = state.readings.shape[2]
    for n in range(begin, end):
        now = state.step[n] * clock.period_seconds
        newest, oldest = find_sample(clock, world, state, n)
        read_at = world.first_scrape_seconds[n] + newest * clock.scrape_seconds if newest >= 0 else -np.inf
        window = (newest - oldest) * clock.scrape_seconds
        for s in range(state.wanted.shape[1]):
            trusted.counted[n, s] = trusted.usage_milli[n, s] = trusted.unready[n, s] = trusted.missing[
                n, s
            ] = 0
        for row in range(fleet.cluster[n, POD_ROWS]):
            s, phase = fleet.pod[n, row, SERVICE], fleet.pod[n, row, PHASE]
            started, ready = fleet.pod_when[n, row, STARTED], fleet.pod_when[n, row, READY_AT]
            if phase in (DRAINING_POD, NO_POD):
                continue
            if started > now and phase != LOST:
                trusted.unready[n, s] += 1
            elif phase == LOST or started > read_at:
                trusted.missing[n, s] += 1
            elif ready > now or (now - started < _YOUNG_SECONDS and ready > read_at - window):
                trusted.unready[n, s] += 1
            else:
                trusted.counted[n, s] += 1
        if newest < 0:
            continue
        for s in range(state.wanted.shape[1]):
            before, reading = state.readings[n, s, oldest % kept], state.readings[n, s, newest % kept]
            capacity, counted = reading[CAPACITY] - before[CAPACITY], trusted.counted[n, s]
            share = (reading[BUSY] - before[BUSY]) / capacity if capacity > 0.0 else 0.0
            share *= blur(clock, world, n, s, newest, CPU, counted)
            trusted.usage_milli[n, s] = np.int64(np.rint(share * milli[s] * counted))
