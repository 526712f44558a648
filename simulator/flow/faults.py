"""Faults in the batch engine: when they come, and what they do to a cluster while they last.

They begin and end at the control step that is nearest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Floats, Ints
from simulator.compiled import inlined
from simulator.faults import (
    AnyFault,
    ApiRefusal,
    BadRelease,
    CpuStarvation,
    Latency,
    MemoryLeak,
    MetricOutage,
    MetricStaleness,
    NodeLoss,
    PodKill,
    RegionLoss,
    ServiceFault,
    SlowStart,
    StockOut,
    StuckPull,
    ZoneLoss,
)
from simulator.flow.draws import service_key
from simulator.nodes import NodeGroup
from simulator.prices import SECONDS_PER_HOUR
from simulator.randomness import mix, uniform

POD_KILL, SLOW_START, LATENCY, CPU_STARVATION, METRIC_OUTAGE, METRIC_STALENESS, API_REFUSAL = range(7)
NODE_LOSS, ZONE_LOSS, REGION_LOSS, STOCK_OUT, STUCK_PULL, BAD_RELEASE, MEMORY_LEAK = range(7, 14)
KINDS: tuple[type, ...] = (
    PodKill,
    SlowStart,
    Latency,
    CpuStarvation,
    MetricOutage,
    MetricStaleness,
    ApiRefusal,
    NodeLoss,
    ZoneLoss,
    RegionLoss,
    StockOut,
    StuckPull,
    BadRelease,
    MemoryLeak,
)
"""All faults, by code."""
_AMOUNTS: dict[type, str] = {
    PodKill: "count",
    NodeLoss: "count",
    SlowStart: "factor",
    Latency: "delay_seconds",
    CpuStarvation: "share",
    ApiRefusal: "probability",
    MemoryLeak: "gib_per_hour",
}
ALL = -1
_FAULTS = np.uint64(0x94D049BB133111EB)
_KILLS = np.uint64(0xE7037ED1A0B428DB)
_ONE = np.uint64(1)


class Hazards(NamedTuple):
    """Faults that clusters may have; axis J.

    Attributes:
        kind: int64 ``(J,)``.
        service: int64 ``(J,)``; ALL where it hits all.
        at_seconds: float64 ``(J,)``; inf where it comes by a rate.
        per_second: float64 ``(J,)``; how often it begins while it is not there.
        duration_seconds: float64 ``(J,)``.
        amount: float64 ``(J,)``; pods or nodes killed, factor of a start-up, delay, share of CPU left, probability,
            GiB/h that a pod leaks.
        groups: bool ``(J, G)``; node groups that it hits.
    """

    kind: Ints
    service: Ints
    at_seconds: Floats
    per_second: Floats
    duration_seconds: Floats
    amount: Floats
    groups: NDArray[np.bool_]


def hazards(faults: Sequence[AnyFault], services: Sequence[str], groups: Sequence[NodeGroup] = ()) -> Hazards:
    """The faults of a Scenario."""
    kinds = [KINDS.index(type(fault)) for fault in faults]
    hit = [fault.service if isinstance(fault, ServiceFault) else None for fault in faults]
    at = [fault.at_seconds for fault in faults]
    return Hazards(
        kind=np.array(kinds, np.int64),
        service=np.array([ALL if name is None else services.index(name) for name in hit], np.int64),
        at_seconds=np.array([math.inf if when is None else when for when in at], np.float64),
        per_second=np.array([(fault.per_hour or 0.0) / SECONDS_PER_HOUR for fault in faults], np.float64),
        duration_seconds=np.array([fault.duration_seconds for fault in faults], np.float64),
        amount=np.array([getattr(fault, _AMOUNTS.get(type(fault), ""), 1.0) for fault in faults], np.float64),
        groups=np.array([[_hits(fault, group) for group in groups] for fault in faults], np.bool_).reshape(
            len(faults), len(groups)
        ),
    )


def _hits(fault: AnyFault, group: NodeGroup) -> bool:
    """Whether a fault takes nodes of a group, or keeps it from getting some."""
    if isinstance(fault, ZoneLoss):
        return (fault.region, fault.zone) == (group.region, group.zone)
    if isinstance(fault, RegionLoss):
        return fault.region == group.region
    return isinstance(fault, NodeLoss) or (isinstance(fault, StockOut) and fault.group == group.name)


@inlined
def wait_seconds(hazards, world, state, n, j):
    """Until a fault begins again."""
    if hazards.per_second[j] <= 0.0:
        return np.inf
    number = state.fault_number[n, j]
    key = mix(world.key[n] + _FAULTS * (np.uint64(j) + _ONE))
    return -math.log(uniform(key, number)) / (hazards.per_second[j] * world.hazard[n])


@inlined
def begin_faults(hazards, world, state, n):
    """None are there at an episode's beginning."""
    for j in range(len(hazards.kind)):
        state.fault_number[n, j] = 0
        state.fault_begin[n, j] = min(hazards.at_seconds[j], wait_seconds(hazards, world, state, n, j))


@inlined
def _kill_pods(hazards, state, n, j, key):
    """Kill ready pods, drawn one by one; their replacements are asked for at once."""
    for number in range(np.int64(hazards.amount[j])):
        total = 0
        for s in range(state.ready.shape[1]):
            if hazards.service[j] in (ALL, s):
                total += state.ready[n, s]
        chosen = np.int64(uniform(key, number) * total)
        for s in range(state.ready.shape[1]):
            if hazards.service[j] in (ALL, s) and total > 0:
                if 0 <= chosen < state.ready[n, s]:
                    state.ready[n, s] -= 1
                    state.killed[n, s] += 1
                    total = 0
                chosen -= state.ready[n, s]


@inlined
def _kill_by_now(hazards, world, state, n, j, now):
    """Kill pods as often as it should have been by now."""
    while state.fault_begin[n, j] <= now:
        key = service_key(mix(world.key[n] + _KILLS * (np.uint64(j) + _ONE)), state.fault_number[n, j] + 1)
        _kill_pods(hazards, state, n, j, key)
        state.fault_number[n, j] += 1
        state.fault_begin[n, j] += wait_seconds(hazards, world, state, n, j)


@inlined
def suffer(hazards, clock, world, state, n):
    """Let faults begin and end at a step's beginning; where there are none, nothing is ever touched."""
    if len(hazards.kind) == 0:
        return
    services = state.ready.shape[1]
    state.refusal[n], state.is_out[n], state.frozen_seconds[n] = 0.0, False, np.inf
    for s in range(services):
        state.cpu_share[n, s] = state.start_factor[n, s] = 1.0
        state.delay_seconds[n, s] = 0.0
        state.killed[n, s] = 0
    now = (state.step[n] + 0.5) * clock.period_seconds
    for j in range(len(hazards.kind)):
        begin, duration = state.fault_begin[n, j], hazards.duration_seconds[j]
        kind, amount = hazards.kind[j], hazards.amount[j]
        if kind == POD_KILL:
            _kill_by_now(hazards, world, state, n, j, now)
        if kind in (POD_KILL, NODE_LOSS):
            continue
        if begin + duration <= now:
            state.fault_number[n, j] += 1
            state.fault_begin[n, j] = begin + duration + wait_seconds(hazards, world, state, n, j)
        if not begin <= now < begin + duration:
            continue
        if kind == METRIC_OUTAGE:
            state.is_out[n] = True
        elif kind == METRIC_STALENESS:
            state.frozen_seconds[n] = min(state.frozen_seconds[n], begin)
        elif kind == API_REFUSAL:
            state.refusal[n] = 1.0 - (1.0 - state.refusal[n]) * (1.0 - amount)
        for s in range(services):
            if hazards.service[j] not in (ALL, s):
                continue
            if kind == SLOW_START:
                state.start_factor[n, s] *= amount
            elif kind == LATENCY:
                state.delay_seconds[n, s] += amount
            elif kind == CPU_STARVATION:
                state.cpu_share[n, s] *= amount
