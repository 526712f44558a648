"""What is counted and shown of pods that are looked at one by one."""

from __future__ import annotations

import numpy as np

from simulator.compiled import called, inlined, kernel
from simulator.flow.fleet import (
    ALIVE,
    COUNTED,
    CREATED,
    DRAINING_POD,
    GOOD,
    GROUP,
    LOST,
    NO_POD,
    NODE,
    PHASE,
    POD_ROWS,
    READY_AT,
    READY_POD,
    RELEASE,
    SERVICE,
    SHOWN_DRAINING,
    SHOWN_READY,
    STARTED,
    UNTIL,
)
from simulator.flow.readings import CPU as OF_CPU
from simulator.flow.readings import blur, find_sample
from simulator.flow.tables import BUSY, CAPACITY, READY
from simulator.nodes import CPU

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
            speed = site.cold_speed[s] if is_cold else 1.0
            if fleet.pod[n, row, RELEASE] != GOOD:
                speed /= site.slowness[bad_release(fleet, n, row)]
            state.pace[n, s] += speed
        elif phase in (LOST, NO_POD):
            continue
        alive = min(begin + span, fleet.pod_when[n, row, UNTIL]) - max(begin, fleet.pod_when[n, row, CREATED])
        happened.pod_seconds[n, s] += alive
        happened.usd[n, s] += alive * world.usd_per_second[n, s]
    fleet.cluster_when[n, COUNTED] = begin + span
    for s in range(state.wanted.shape[1]):
        ready = state.ready[n, s]
        state.pace[n, s] = state.pace[n, s] / ready if ready > 0 else 1.0


@inlined
def bad_release(fleet, n, row):
    """The fault that a pod's release is."""
    return (fleet.pod[n, row, RELEASE] - 1) % fleet.hit.shape[1]


@inlined
def _serves(fleet, n, row, s, middle):
    """Whether a pod is a service's and ready at a time."""
    is_one = fleet.pod[n, row, SERVICE] == s and fleet.pod[n, row, PHASE] == READY_POD
    return is_one and fleet.pod_when[n, row, READY_AT] <= middle


@called
def share_cpu(site, fleet, share, n, middle):
    """Find what pods have of the CPU that they may use, at a time: float64 ``(S,)``.

    Those on a node share its CPU by what all of them request.
    """
    for s in range(len(share)):
        total, ready = 0.0, 0
        for row in range(fleet.cluster[n, POD_ROWS]):
            if _serves(fleet, n, row, s, middle):
                node = fleet.pod[n, row, NODE]
                spare = site.allocatable[fleet.node[n, node, GROUP], CPU] / fleet.requested[n, node, CPU]
                ready += 1
                total += min(spare / site.burst[s], 1.0)
        share[s] = fleet.cpu_share[n, s] * (total / ready if ready > 0 else 1.0)


@called
def count_delays(site, fleet, delay, n, middle):
    """Find how much later answers come for where pods are, at a time: cumulants, float64 ``(S, 3)``."""
    for s in range(len(delay)):
        first = second = third = 0.0
        ready = 0
        for row in range(fleet.cluster[n, POD_ROWS]):
            if _serves(fleet, n, row, s, middle):
                seconds = site.latency_seconds[fleet.node[n, fleet.pod[n, row, NODE], GROUP]]
                ready += 1
                first += seconds
                second += seconds**2
                third += seconds**3
        first, second, third = first / max(ready, 1), second / max(ready, 1), third / max(ready, 1)
        delay[s, 0] = first
        delay[s, 1] = max(second - first**2, 0.0)
        delay[s, 2] = third - 3.0 * first * second + 2.0 * first**3


@called
def count_errors(site, fleet, failing, n, middle):
    """Find the share of each service's calls that fail for their pods' release, at a time: float64 ``(S,)``."""
    for s in range(len(failing)):
        failing[s], ready = 0.0, 0
        for row in range(fleet.cluster[n, POD_ROWS]):
            if _serves(fleet, n, row, s, middle):
                ready += 1
                if fleet.pod[n, row, RELEASE] != GOOD:
                    failing[s] += site.errors[bad_release(fleet, n, row)]
        failing[s] /= max(ready, 1)


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
            state.readings[n, oldest % state.readings.shape[1], s],
            state.readings[n, newest % state.readings.shape[1], s],
        )
        if sampled == 0:
            continue
        seconds = end - begin
        capacity = max(last[READY] * world.slots[n, s] * seconds, last[CAPACITY] - before[CAPACITY])
        share = (last[BUSY] - before[BUSY]) / capacity if capacity > 0.0 else 0.0
        used = share * min(last[READY], np.float64(sampled)) + site.burn[s] * burnt / seconds
        seen.cpu[n, s] = used / sampled * blur(clock, world, n, s, newest, OF_CPU, sampled)


@kernel
def sort_rows(begin, end, site, clock, milli, world, state, fleet, trusted):
    """Sort the pods of clusters ``begin`` to ``end`` as the HPA trusts them.

    Args:
        milli: float64 ``(S,)``; what a pod requests, thousandths.
    Source: kubernetes/kubernetes pkg/controller/podautoscaler/replica_calculator.go (groupPods).
    """
    kept = state.readings.shape[1]
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
            before, reading = state.readings[n, oldest % kept, s], state.readings[n, newest % kept, s]
            capacity, counted = reading[CAPACITY] - before[CAPACITY], trusted.counted[n, s]
            share = (reading[BUSY] - before[BUSY]) / capacity if capacity > 0.0 else 0.0
            share *= blur(clock, world, n, s, newest, OF_CPU, counted)
            trusted.usage_milli[n, s] = np.int64(np.rint(share * milli[s] * counted))
