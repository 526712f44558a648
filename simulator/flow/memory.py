"""Memory that leaks: pods that have used it up are killed and start again in place; see ``simulator.oom``."""

from __future__ import annotations

import numpy as np

from simulator.compiled import called, inlined
from simulator.flow.chance import draw_delay
from simulator.flow.faults import ALL, MEMORY_LEAK
from simulator.flow.fleet import (
    CRASHED,
    LEAKED,
    PHASE,
    POD_ROWS,
    PULL,
    READY_AT,
    READY_POD,
    RESTARTS,
    SERVICE,
    STARTED,
    STARTING,
)
from simulator.oom import HOUSEKEEPING_SECONDS
from simulator.prices import SECONDS_PER_HOUR
from simulator.restarts import BACK_OFF_CAP_SECONDS, BACK_OFF_SECONDS, CALM_SECONDS, MOST_DOUBLINGS


@inlined
def _gib_per_hour(hazards, state, n, s, middle):
    """How fast each pod of a service loses memory."""
    total = 0.0
    for j in range(len(hazards.kind)):
        if hazards.kind[j] == MEMORY_LEAK and hazards.service[j] in (ALL, s):
            begin = state.fault_begin[n, j]
            if begin <= middle < begin + hazards.duration_seconds[j]:
                total += hazards.amount[j]
    return total


@inlined
def _crash(site, world, state, fleet, n, row, now):
    """A ready pod's container is killed, and starts again after a while that doubles."""
    s = fleet.pod[n, row, SERVICE]
    calm = now - fleet.pod_when[n, row, CRASHED] > CALM_SECONDS
    restarts = 1 if calm else fleet.pod[n, row, RESTARTS] + 1
    doublings = min(restarts - 2, MOST_DOUBLINGS)
    wait = min(BACK_OFF_SECONDS * 2.0**doublings, BACK_OFF_CAP_SECONDS) if restarts > 1 else 0.0
    seconds = draw_delay(world, fleet, n, site.start_up[s]) * world.starts[n] * state.start_factor[n, s]
    fleet.pod[n, row, PHASE] = STARTING
    fleet.pod[n, row, RESTARTS] = restarts
    fleet.pod[n, row, PULL] = 0
    fleet.pod_when[n, row, CRASHED] = now
    fleet.pod_when[n, row, LEAKED] = 0.0
    fleet.pod_when[n, row, STARTED] = now + wait
    fleet.pod_when[n, row, READY_AT] = now + wait + seconds * (1.0 - site.pending_share[s])


@called
def look_at_memory(site, hazards, clock, world, state, fleet, n, now, span):
    """Look after memory if it is time to within a part of a step."""
    number = np.floor(now / HOUSEKEEPING_SECONDS + 1e-9)
    if number < 1.0 or number == np.floor((now - span) / HOUSEKEEPING_SECONDS + 1e-9):
        return
    middle = (state.step[n] + 0.5) * clock.period_seconds
    for s in range(state.wanted.shape[1]):
        gib = _gib_per_hour(hazards, state, n, s, middle) * HOUSEKEEPING_SECONDS / SECONDS_PER_HOUR
        for row in range(fleet.cluster[n, POD_ROWS]):
            if fleet.pod[n, row, SERVICE] == s and fleet.pod[n, row, PHASE] == READY_POD:
                fleet.pod_when[n, row, LEAKED] += gib
                if site.memory[s, 0] + fleet.pod_when[n, row, LEAKED] > site.memory[s, 1]:
                    _crash(site, world, state, fleet, n, row, now)
